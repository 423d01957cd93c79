"""Which classes have a colour of their own on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.report.classes import UNKNOWN
from dynprobe.report.figures.style import class_colours, shown

#: More colours than this are not told apart.
MAX_COLOURS = 12
NAME_LENGTH = 40
#: Of what has no class, and of the classes without a colour of their own.
GREY = "#8a919e"


@dataclass(frozen=True)
class Palette:
    """Names and colours of classes; rare ones share the last.

    Attributes
    ----------
    names, colours : list of str
        As shown.
    place : dict
        Class -> its place in these; a class that is missing has the last place.
    """

    names: list[str]
    colours: list[str]
    place: dict[int, int]

    @classmethod
    def of(cls, names: Sequence[str], *used: Tensor | None) -> Palette:
        """Give colours to all classes, or where there are many to those that occur most."""
        n = len(names)
        order = list(range(n))
        if n > MAX_COLOURS:
            seen = torch.cat([u for u in used if u is not None] or [torch.zeros(0).long()])
            often = seen[(seen >= 0) & (seen < n)].bincount(minlength=n)
            order = (
                often.argsort(descending=True, stable=True)[: MAX_COLOURS - 1].sort()[0].tolist()
            )
        out = cls(
            [shown(names[i], NAME_LENGTH) for i in order],
            class_colours(len(order)),
            {c: i for i, c in enumerate(order)},
        )
        if len(order) < n:
            out.names.append(f"other ({n - len(order)} classes)")
            out.colours.append(GREY)
        return out

    def places(self, classes: Tensor | None) -> list[int] | None:
        """Place of each class; ``UNKNOWN`` stays what it is."""
        if classes is None:
            return None
        last = len(self.names) - 1
        return [UNKNOWN if c < 0 else self.place.get(c, last) for c in classes.tolist()]
