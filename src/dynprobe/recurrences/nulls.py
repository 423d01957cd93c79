"""Inputs that a recurrence could have had: controls for what it makes of those it was given.

An undecayed state adds up its inputs. Whatever these are, a sum of noise is a random walk, whose
first principal component takes 6 / pi^2 = 61 % of the variance, with a participation ratio near
2.5: no finding about a model. So states stand beside those of the same recurrence under inputs
whose order means nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.errors import ShapeError, UnknownNameError, suggest
from dynprobe.geometry.surrogates import amplitude_adjusted, phase_shifted, random_phases
from dynprobe.recurrences.rank_one import DELTA, RankOne

RANDOM, PHASE = NULLS = ("random", "phase")
#: Tokens from which on there is something to draw: an order, a frequency whose phase is free.
FEWEST = {RANDOM: 2, PHASE: 3}


def can_differ(mask: Tensor, how: str) -> Tensor:
    """(sequences,), whether there are tokens enough for a null to differ from the inputs."""
    tokens = mask.sum(1)
    if how == RANDOM:  # permuted among all sequences
        tokens = tokens.sum().expand_as(tokens)
    return tokens >= FEWEST[how]


def null_inputs(form: RankOne, inputs: Tensor, mask: Tensor, how: str, seed: int) -> Tensor:
    """Surrogates of the inputs (k, u or v, gates) of a rank-one recurrence.

    Parameters
    ----------
    form : RankOne
        What the inputs are.
    inputs : Tensor
        (sequences, time, input_dim).
    mask : Tensor
        (sequences, time), which tokens count; the others stay as they are.
    how : {"random", "phase"}
        ``random``: the inputs of whole tokens, permuted among all tokens of all sequences. So k, u
        and gates of a token stay together and valid, and only order and sequence are random.
        ``phase``: phase-randomised along the time of each sequence, with the same phases for all
        its features, so that autocorrelations and cross-correlations stay. Features that never
        change their sign (positive keys, rates, write strengths) keep their very values, others
        their spectrum. Keys of a delta rule keep their lengths: with longer ones it diverges.
        Sequences of one or two tokens stay as they are.
    seed : int
        Of the draw.

    Raises
    ------
    UnknownNameError
        For another `how`.
    ShapeError
        If no sequence has tokens enough to differ.
    """
    if how not in NULLS:
        raise UnknownNameError(f"There is no null {how!r}. {suggest(how, NULLS)}")
    if not can_differ(mask, how).any():
        where = "all sequences together" if how == RANDOM else "some sequence"
        raise ShapeError(
            f"There are no {how} inputs of sequences this short, which would stay as they are: "
            f"{where} must have at least {FEWEST[how]} tokens, and the longest has "
            f"{int(mask.sum(1).max()) if len(mask) else 0}."
        )
    generator = torch.Generator().manual_seed(seed)
    rows, out = inputs[mask], inputs.clone()
    if how == RANDOM:
        order = torch.randperm(len(rows), generator=generator)
        out[mask] = rows[order.to(rows.device)]
        return out
    one_sign = (rows >= 0).all(0) | (rows <= 0).all(0)
    for i, valid in enumerate(mask):
        series = inputs[i, valid]
        phases = random_phases(len(series), generator)
        shifted = phase_shifted(series, phases)
        ties = torch.randperm(len(series), generator=generator)
        shifted[:, one_sign] = amplitude_adjusted(series[:, one_sign], phases, ties)
        out[i, valid] = shifted
    if form.kind == DELTA:
        k, was = (form.inputs.split(x)["k"] for x in (out, inputs))
        length = k.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(k.dtype).tiny)
        k.mul_(was.norm(dim=-1, keepdim=True) / length)  # a view of `out`
    return out
