"""The elementwise linear recursion c_t = f_t c_{t-1} + a_t, for all t at once."""

from __future__ import annotations

import torch
from torch import Tensor

# Below this many numbers a step, a step costs its launch and not its arithmetic: then log2(T)
# passes over everything are faster than T steps. Measured on one core, see benchmarks/capture.py.
SMALL_STEP = 4096


def linear_scan(decay: Tensor, added: Tensor, start: Tensor) -> Tensor:
    """Solve c_t = decay_t * c_{t-1} + added_t.

    Parameters
    ----------
    decay, added : Tensor
        (batch, time, ...). With 0 <= decay <= 1 both ways of computing are stable.
    start : Tensor
        (batch, ...), c before the first step.

    Returns
    -------
    Tensor
        (batch, time, ...).
    """
    if added.shape[1] == 0:
        return added
    if decay.requires_grad or added.requires_grad or start.requires_grad:
        return _by_doubling(decay, added, start)  # the other way writes into its result
    if start.numel() >= SMALL_STEP:
        return _by_steps(decay, added, start)
    return _by_doubling(decay, added, start)


def _by_steps(decay: Tensor, added: Tensor, start: Tensor) -> Tensor:
    c, states = start, []
    for f, a in zip(decay.unbind(1), added.unbind(1), strict=True):
        c = torch.addcmul(a, f, c)
        states.append(c)
    return torch.stack(states, dim=1)


def _by_doubling(decay: Tensor, added: Tensor, start: Tensor) -> Tensor:
    """After pass k every entry holds the recursion over its last 2^k steps (Hillis & Steele 1986).

    Two steps (f, a) and (g, b) after each other are one step (g f, g a + b).
    """
    first = torch.addcmul(added[:, :1], decay[:, :1], start.unsqueeze(1))
    added = torch.cat([first, added[:, 1:]], dim=1)
    reach = 1
    while reach < added.shape[1]:
        later = torch.addcmul(added[:, reach:], decay[:, reach:], added[:, :-reach])
        added = torch.cat([added[:, :reach], later], dim=1)
        decay = torch.cat([decay[:, :reach], decay[:, reach:] * decay[:, :-reach]], dim=1)
        reach *= 2
    return added


def decay_triangle(log_decay: Tensor) -> Tensor:
    """W[..., t, i], the decay from step i to step t, zero for t < i: (..., time, time).

    The recursion from c = 0 on is then W @ added. Sums of logarithms over each stretch of its own,
    not differences of one running sum: these would lose what follows a very strong decay.
    """
    time = log_decay.shape[-1]
    later = torch.ones(time, time, dtype=torch.bool, device=log_decay.device).tril(-1)
    summed = torch.where(later, log_decay.unsqueeze(-1), 0).cumsum(-2)
    return summed.exp_().tril() if not summed.requires_grad else summed.exp().tril()
