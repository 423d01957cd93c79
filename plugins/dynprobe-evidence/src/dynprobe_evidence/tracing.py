"""Taking a logit apart into what each input added to it.

Along a trajectory s_t = F(s_(t-1), x_t) with Jacobians J_t, readout W and
P_t = W J_T ... J_(t+1), which carries a change of s_t to the last step,

    W s_T = P_0 s_0 + sum_t P_t (s_t - J_t s_(t-1))

holds exactly: the sum telescopes, as P_(t-1) = P_t J_t. With a reference input x* the step is
s_t - J_t s_(t-1) = e_t + d_t,

    e_t = F(s_(t-1), x_t) - F(s_(t-1), x*)     what this input did, and x* would not have done
    d_t = F(s_(t-1), x*) - J_t s_(t-1)         what the network does of its own, and its curvature

so that the logit is the sum of P_t e_t over the inputs, the share P_0 s_0 of the initial state, the
network's own share, sum P_t d_t, and the readout's bias. What is approximate is not this sum but
its reading as causes: P_t is linear. The test of it is to replace an input by x* and run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import dynprobe

#: Numbers of state that one batch of replaced runs may hold.
BLOCK = 1 << 22


@dataclass(frozen=True)
class Traces:
    """Shares of the last logits of some sequences; their sum is `logits`. Float64.

    Attributes
    ----------
    contributions : Tensor
        (sequences, time, classes), of each input; zero after the end.
    initial : Tensor
        (sequences, classes), of the state before the first input.
    own : Tensor
        (sequences, classes), of what the network does under the reference input.
    bias : Tensor
        (classes,).
    logits : Tensor
        (sequences, classes).
    replaced : Tensor or None
        (sequences, time, classes), by how much the logits fall when the input is replaced by the
        reference and the network run again: exact, without linearisation. None where not asked for.
    """

    contributions: Tensor
    initial: Tensor
    own: Tensor
    bias: Tensor
    logits: Tensor
    replaced: Tensor | None


@torch.no_grad()
def trace(
    recurrence: dynprobe.Recurrence,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor,
    inputs: Tensor,
    lengths: Tensor,
    reference: Tensor,
    *,
    linear: bool = False,
    replace: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Traces:
    """Carry each input's push to the last step by the adjoint of the dynamics.

    Parameters
    ----------
    recurrence : dynprobe.Recurrence
        The map. One backward pass a step and class; no Jacobian is formed.
    weight, bias : Tensor
        (classes, n) and (classes,) or None, the readout.
    initial : Tensor
        (sequences, n).
    inputs : Tensor
        (sequences, time, input_dim).
    lengths : Tensor
        (sequences,), valid inputs.
    reference : Tensor
        (input_dim,), x*.
    linear : bool
        Take the push as B_t (x_t - x*) instead of the exact difference e_t; what that leaves goes
        to the network's own share.
    replace : bool
        Also run every sequence again without each of its inputs.
    progress : callable
        ``progress(done, total)``.
    """
    s0, x, ref = (
        v.detach().to(recurrence.device, torch.float64) for v in (initial, inputs, reference)
    )
    w = weight.detach().to(s0)
    count, time = x.shape[:2]
    lengths = lengths.to(s0.device)
    total = time * (2 if replace else 1)
    states = torch.cat([s0[:, None], recurrence.rollout(s0, x)], dim=1)
    last = states[torch.arange(count, device=s0.device), lengths]
    carried = w.expand(count, *w.shape).clone()  # P_t, (sequences, classes, n)
    contributions = x.new_zeros(count, time, len(w))
    own = x.new_zeros(count, len(w))
    for t in reversed(range(time)):
        before, held = states[:, t], ref.expand(count, -1)
        by_state, by_input = _pull(recurrence, before, x[:, t], carried)
        standing = recurrence.step(before, held)
        whole = _apply(carried, states[:, t + 1])
        exact = whole - _apply(carried, standing)
        pushed = _apply(by_input, x[:, t] - ref) if linear else exact
        valid = (t < lengths)[:, None]
        contributions[:, t] = torch.where(valid, pushed, 0.0)
        own += torch.where(valid, whole - _apply(by_state, before) - pushed, 0.0)
        carried = torch.where(valid[..., None], by_state, carried)
        progress(time - t, total)
    b = w.new_zeros(len(w)) if bias is None else bias.detach().to(w)
    replaced = None
    if replace:
        replaced = _replaced(recurrence, w, states, x, lengths, ref)
        progress(total, total)
    return Traces(
        contributions=contributions.cpu(),
        initial=_apply(carried, s0).cpu(),
        own=own.cpu(),
        bias=b.cpu(),
        logits=(last @ w.T + b).cpu(),
        replaced=None if replaced is None else replaced.cpu(),
    )


def _apply(rows: Tensor, vectors: Tensor) -> Tensor:
    """(batch, classes, n), (batch, n) -> (batch, classes)."""
    return (rows @ vectors.unsqueeze(-1)).squeeze(-1)


def _pull(
    recurrence: dynprobe.Recurrence, state: Tensor, x: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows times the Jacobians by state and by input: (batch, classes, n), (batch, classes, m)."""
    with torch.enable_grad():
        s, u = state.clone().requires_grad_(True), x.clone().requires_grad_(True)
        out = recurrence.step(s, u)
    if not out.requires_grad:  # a map that depends on neither
        return torch.zeros_like(rows), x.new_zeros(*rows.shape[:2], x.shape[1])
    pulled = [
        torch.autograd.grad(out, (s, u), row, retain_graph=True, materialize_grads=True)
        for row in rows.unbind(1)
    ]
    by_state, by_input = zip(*pulled, strict=True)
    return torch.stack(by_state, 1), torch.stack(by_input, 1)


def _replaced(
    recurrence: dynprobe.Recurrence,
    w: Tensor,
    states: Tensor,
    x: Tensor,
    lengths: Tensor,
    ref: Tensor,
) -> Tensor:
    """Logits as they are, less those with one input replaced, for every input.

    All runs of a sequence go on side by side: run j joins at step j, from the recorded state.
    """
    count, time, _ = x.shape
    out = x.new_zeros(count, time, len(w))
    size = max(1, BLOCK // max(1, time * states.shape[-1]))
    for rows in torch.arange(count, device=x.device).split(size):
        runs = states.new_zeros(len(rows), 0, states.shape[-1])
        for t in range(int(lengths[rows].max())):
            # what is replaced now leaves from the state before this step
            runs = torch.cat([runs, states[rows, t, None]], dim=1)
            held = x[rows, t, None].expand(-1, t + 1, -1).clone()
            held[:, t] = ref
            runs = recurrence.step(runs.flatten(0, 1), held.flatten(0, 1)).unflatten(0, (-1, t + 1))
            for i in (lengths[rows] == t + 1).nonzero().flatten().tolist():
                out[rows[i], : t + 1] = (states[rows[i], t + 1] - runs[i]) @ w.T
    return out
