"""The L2 penalty that decides how many dimensions a trained network uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from dynprobe.errors import UnknownNameError, suggest
from dynprobe.study.method import trained_parameters

#: Choices of what is penalised, see :func:`penalised_parameters`.
CHOICES = ("all", "weights")


def l2_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """Return the sum of squares of all entries of `parameters`, a scalar with a gradient.

    It is written into the loss, not left to an optimizer's weight decay, because the reference
    recipe clips the gradient of the whole, and Adam scales it.
    """
    return l2_penalties(parameter.reshape(1, -1) for parameter in parameters)[0]


def l2_penalties(rows: Iterable[Tensor]) -> Tensor:
    """The same for several models, ``(models,)``; each of `rows` is ``(models, entries)``."""
    return torch.stack([row.square().sum(1) for row in rows]).sum(0)


def penalised_parameters(model: nn.Module, which: str) -> list[bool]:
    """For each of the trained parameters, in order, whether a penalty applies to it.

    Parameters
    ----------
    model
        Any.
    which
        ``"all"``, or ``"weights"``: all but norms (every parameter of a module whose class name
        ends in Norm), biases (whose own name begins with bias) and embeddings. What is left is
        matrices and convolutions, and also initial states, and Mamba's `A_log` and `D`: a penalty
        pulls its rates A towards -1.

    Raises
    ------
    UnknownNameError
        For another choice.
    ValueError
        If nothing is left.
    """
    if which not in CHOICES:
        raise UnknownNameError(
            f"Nothing is called {which!r} to penalise. {suggest(which, CHOICES)}"
        )
    left_out = set()
    if which == "weights":
        for module in model.modules():
            whole = isinstance(module, nn.Embedding) or type(module).__name__.endswith("Norm")
            for name, parameter in module.named_parameters(recurse=False):
                if whole or name.startswith("bias"):
                    left_out.add(id(parameter))
    chosen = [id(parameter) not in left_out for parameter in trained_parameters(model)]
    if not any(chosen):
        raise ValueError(f"penalised={which!r} leaves no parameter of this model. Pass 'all'.")
    return chosen


def penalty_of(
    model: nn.Module, l2: Sequence[float], which: str
) -> Callable[[Sequence[Tensor]], Tensor]:
    """``l2 * sum(theta ** 2)`` over the chosen parameters of each member, as a step's penalty.

    Parameters
    ----------
    model
        A model, or a stack of as many as `l2` has entries.
    l2
        Of each member.
    which
        See :func:`penalised_parameters`.

    Returns
    -------
    callable
        A function of the trained parameters, each ``(members, entries)``, that returns
        ``(members,)``.
    """
    chosen = penalised_parameters(model, which)
    like = trained_parameters(model)[0]
    factors = torch.tensor(l2, dtype=like.dtype, device=like.device)

    def penalty(rows: Sequence[Tensor]) -> Tensor:
        return factors * l2_penalties(r for r, c in zip(rows, chosen, strict=True) if c)

    return penalty
