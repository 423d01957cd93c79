"""The three parts of a data set: those of its source, and those cut from the training rows."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dynprobe.errors import DataError
from dynprobe.tasks.labelled_texts import LabelledTexts
from dynprobe.tasks.stratified import stratified_parts

PARTS = ("train", "validation", "test")


def all_parts(
    parts: Mapping[str, LabelledTexts],
    shares: Mapping[str, float],
    generator: torch.Generator,
    phrases: LabelledTexts | None = None,
) -> dict[str, LabelledTexts]:
    """Return training, validation and test part.

    Parameters
    ----------
    parts
        The parts that there are; ``"train"`` with at least one row.
    shares
        Shares of the training rows to cut off for ``"validation"`` and ``"test"``, where there is
        no such part. Every class is cut in the same shares.
    generator
        Decides which rows are cut off.
    phrases
        What to train on instead of the training rows, where given: all but the phrases of rows
        that were cut off.

    Raises
    ------
    DataError
        If there are too few rows to cut off a part.
    """
    whole = parts["train"]
    wanted = [0.0 if name in parts else shares[name] for name in PARTS[1:]]
    kept, *others = stratified_parts(whole.labels, (wanted[0], wanted[1]), generator)
    found = {**parts, "train": whole.only(kept)}
    for name, share, rows in zip(PARTS[1:], wanted, others, strict=True):
        if share and len(rows) == 0:
            raise DataError(
                f"{whole.places[0]} and on: {len(whole)} rows are too few to cut off a {name} "
                f"part, which needs three rows of a class. Add rows, or pass {name}=0."
            )
        found.setdefault(name, whole.only(rows))
    if phrases is not None:
        # A phrase is read where its sentence is.
        held_out = {whole.places[row] for row in torch.cat(others).tolist()}
        free = [row for row, place in enumerate(phrases.places) if place not in held_out]
        found["train"] = phrases.only(torch.tensor(free, dtype=torch.int64))
    return found
