"""A matrix of similarities or distances, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from dynprobe.similarity import DMD, cka, mean_cca, procrustes

#: What each measure is: its title, whether 0 is the same (a distance), and the end of its scale.
MEASURES: dict[str, tuple[str, bool, float]] = {
    "cka": ("linear CKA, debiased (1: the same up to rotation and scale)", False, 1.0),
    "cca": ("mean canonical correlation (1: the same up to a linear map)", False, 1.0),
    "procrustes": ("Procrustes angle in radians (0: the same up to rotation)", True, torch.pi / 2),
    "dsa": ("angle of the dynamics in radians (0: conjugate)", True, torch.pi / 2),
}
OF_POINTS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "cka": cka,
    "cca": mean_cca,
    "procrustes": procrustes,
}
CELL = 0.72


@dataclass(frozen=True)
class SimilarityMatrix:
    """All pairs of some representations, or of their dynamics.

    Attributes
    ----------
    names : tuple of str
        Of rows and columns.
    values : Tensor
        (names, names), symmetric: similarities for "cka" and "cca", angles in radians for
        "procrustes" and "dsa".
    measure : str
        Key of :data:`MEASURES`.
    fits : dict
        Of "dsa", the linear system of each name: look at its `r2` before you trust an angle.
    certain : Tensor or None
        (names, names), of "dsa": True where no coordinates bring the two systems nearer; elsewhere
        the angle is an upper bound.
    """

    names: tuple[str, ...]
    values: Tensor
    measure: str
    fits: Mapping[str, DMD]
    certain: Tensor | None = None

    def __getitem__(self, pair: tuple[str, str]) -> float:
        """The value of two names."""
        row, column = (self.names.index(name) for name in pair)
        return float(self.values[row, column])

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists and numbers."""
        return {
            "names": list(self.names),
            "values": self.values.tolist(),
            "measure": self.measure,
            "fits": {name: fit.to_dict() for name, fit in self.fits.items()},
            "certain": None if self.certain is None else self.certain.tolist(),
        }

    def __str__(self) -> str:
        width = max(6, *(len(name) for name in self.names))
        head = " " * width + "".join(f" {name:>{width}}" for name in self.names)
        rows = [
            f"{name:<{width}}" + "".join(f" {v:>{width}.3f}" for v in row)
            for name, row in zip(self.names, self.values.tolist(), strict=True)
        ]
        notes = [f"{name}: {fit!r}" for name, fit in self.fits.items()]
        return "\n".join([MEASURES[self.measure][0], head, *rows, *notes])

    def figure(self) -> Figure:
        """A heat map with the values written in; darker is more alike."""
        k = len(self.names)
        title, distance, end = MEASURES[self.measure]
        if distance:  # the farthest pair ends the scale: angles are seldom near a right one
            end = max(float(self.values.max()), 1e-3)
        longest = max(len(name) for name in self.names)
        side = CELL * k + 0.075 * longest
        figure = Figure(figsize=(max(4.6, side + 1.6), max(2.8, side + 0.9)), layout="constrained")
        ax = figure.add_subplot()
        image = ax.imshow(
            self.values.clamp(0, end).numpy(),
            cmap="Blues_r" if distance else "Blues",
            vmin=0,
            vmax=end,
        )
        turned = longest > 8
        ax.set_xticks(range(k), self.names, rotation=40 if turned else 0,
                      ha="right" if turned else "center", rotation_mode="anchor")  # fmt: skip
        ax.set_yticks(range(k), self.names)
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
        for i, row in enumerate(self.values.tolist()):
            for j, value in enumerate(row):
                alike = 1 - value / end if distance else value / end
                open_ = self.certain is not None and not bool(self.certain[i, j])
                ax.text(j, i, f"{'≤ ' if open_ else ''}{value:.2f}", ha="center", va="center",
                        color="white" if alike > 0.6 else "#1f2430")  # fmt: skip
        name, meaning = title.split(" (")
        figure.colorbar(image, ax=ax, shrink=0.85, label=meaning.rstrip(")"))
        ax.set_title(name[0].upper() + name[1:], loc="left", fontsize=10)
        return figure


def pairwise(points: Mapping[str, Tensor], measure: str) -> SimilarityMatrix:
    """Compare (points, width) representations of the same points, each with each."""
    names = tuple(points)
    values = torch.zeros(len(names), len(names), dtype=torch.float64)
    for i, a in enumerate(names):
        for j, b in enumerate(names[: i + 1]):
            values[i, j] = values[j, i] = OF_POINTS[measure](points[a], points[b])
    return SimilarityMatrix(names, values, measure, {})
