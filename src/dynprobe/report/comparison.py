"""The outcome of a comparison of models: a table, similarities, aligned planes, a verdict."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynprobe.errors import UnknownNameError, suggest
from dynprobe.plain import plain

#: What the classifier reads; what the recurrence carries from step to step. Never mixed.
STREAM, MEMORY = NOTIONS = ("stream", "memory")
#: Of the model as a whole.
MODEL = "model"


@dataclass(frozen=True)
class Cell:
    """One value, or the reason why there is none.

    Attributes
    ----------
    text : str
        As shown.
    value : float or None
        The number behind it, where there is one.
    missing : bool
        Whether `text` is the reason why there is no value.
    """

    text: str
    value: float | None = None
    missing: bool = False


@dataclass(frozen=True)
class Row:
    """One measure of every model.

    Attributes
    ----------
    notion : {"model", "stream", "memory"}
        What was measured.
    measure, meaning : str
        Its name, and what to hold it against.
    cells : dict
        By model.
    """

    notion: str
    measure: str
    cells: dict[str, Cell]
    meaning: str = ""


@dataclass(frozen=True)
class Dimension:
    """How the variance of visited states spreads over principal components.

    Attributes
    ----------
    of : str
        Which states: "S", or "S/z" for matrices divided by their normaliser.
    shares : Tensor
        (k,), of the leading components.
    participation_ratio : float
        Of all components.
    components_95 : int or None
        How many hold 95 % of the variance; None where it is more than `shares` has.
    null : Dimension or None
        Of the same recurrence with its inputs in random order, for undecayed matrix states.
    """

    of: str
    shares: Tensor
    participation_ratio: float
    components_95: int | None
    null: Dimension | None = None


@dataclass(frozen=True)
class Similarity:
    """How alike the states of every pair of models are at the same places of the same sequences.

    Attributes
    ----------
    names : tuple of str
        Models that have such states.
    cka : Tensor
        (models, models), debiased linear CKA: 1 is the same up to rotation and scale.
    control : Tensor
        (models, models), the same with the sequences of one model exchanged at random and the
        place within them kept: what is alike only because all sequences begin and end.
    angle : Tensor
        (models, models), angular Procrustes distance in radians: 0 is the same, pi / 2 unrelated.
    points : int
        Places compared.
    """

    names: tuple[str, ...]
    cka: Tensor
    control: Tensor
    angle: Tensor
    points: int


@dataclass(frozen=True)
class Plane:
    """A model's states in its own first two principal components, turned onto the first model's.

    In units of the spread (root mean square distance from the mean) within each model's own plane.

    Attributes
    ----------
    ends : Tensor
        (sequences, 2), final states.
    paths : tuple of Tensor
        (time, 2), a few sequences, the same ones of every model.
    share : float
        Of the variance that lies in the plane.
    """

    ends: Tensor
    paths: tuple[Tensor, ...]
    share: float


@dataclass(frozen=True)
class Finding:
    """One question about the models, answered by a stated rule.

    Attributes
    ----------
    question, answer : str
        The answer in a word or two.
    sentence : str
        The numbers behind it.
    """

    question: str
    answer: str
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """Models side by side on the same sequences; made by :func:`dynprobe.compare`.

    Attributes
    ----------
    names : tuple of str
        The models.
    verdict : str
        Whether they compute it the same way, in one sentence; rules in ``docs/comparing.md``.
    findings : tuple of Finding
        What the verdict rests on.
    rows : tuple of Row
        The table.
    similarity : dict
        By notion.
    dimensions : dict
        (notion, model) -> Dimension, of the states that similarity and planes are about.
    planes : dict
        (notion, model) -> Plane.
    end_classes, path_classes : tuple of int
        Class of each final state and each path of the planes; -1 where it is unknown.
    classes : tuple of str
        Names of the classes.
    details : dict
        By model, how it came to be.
    seed : int
        Of everything random.
    """

    names: tuple[str, ...]
    verdict: str
    findings: tuple[Finding, ...]
    rows: tuple[Row, ...]
    similarity: dict[str, Similarity]
    dimensions: dict[tuple[str, str], Dimension]
    planes: dict[tuple[str, str], Plane]
    end_classes: tuple[int, ...]
    path_classes: tuple[int, ...]
    classes: tuple[str, ...]
    details: dict[str, dict[str, str]] = field(default_factory=dict)
    seed: int = 0

    def row(self, measure: str, notion: str = MODEL) -> Row:
        """One row of the table."""
        for row in self.rows:
            if (row.measure, row.notion) == (measure, notion):
                return row
        known = [row.measure for row in self.rows if row.notion == notion]
        raise UnknownNameError(
            f"There is no {measure!r} of the {notion}. {suggest(measure, known)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the planes as plain lists and numbers, ready for JSON."""
        dimensions: dict[str, dict[str, Any]] = {notion: {} for notion in NOTIONS}
        for (notion, name), dimension in self.dimensions.items():
            dimensions[notion][name] = dimension
        out: dict[str, Any] = plain(
            {
                "models": self.names,
                "verdict": self.verdict,
                "findings": self.findings,
                "rows": self.rows,
                "similarity": self.similarity,
                "dimensions": dimensions,
                "details": self.details,
                "seed": self.seed,
            }
        )
        return out

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the comparison.

        Parameters
        ----------
        path : path
            ``.html`` for one self-contained page, ``.json`` for the numbers, a folder (no suffix)
            for one PNG per figure.

        Returns
        -------
        Path
            What was written.
        """
        target = Path(path)
        if target.suffix in (".html", ".htm"):
            from dynprobe.report.comparison_page import render_comparison

            target.write_text(render_comparison(self), encoding="utf-8")
        elif target.suffix == ".json":
            target.write_text(json.dumps(self.to_dict()), encoding="utf-8")
        elif not target.suffix:
            from dynprobe.report.figures.comparison import save_pngs

            save_pngs(self, target)
        else:
            raise ValueError(
                "A comparison is saved as .html, .json, or into a folder of PNG files; "
                f"{target.name} has the suffix {target.suffix!r}."
            )
        return target

    def __rich__(self) -> Any:
        from dynprobe.report.terminal import render_comparison

        return render_comparison(self)

    def __str__(self) -> str:
        from dynprobe.report.terminal import as_text

        return as_text(self)

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.names)}: {self.verdict})"


def unlike(similarity: Similarity) -> tuple[float, float, float]:
    """CKA, its control and the angle (degrees) of the least similar pair."""
    i, j = torch.triu_indices(len(similarity.names), len(similarity.names), offset=1)
    worst = int(similarity.cka[i, j].argmin())
    at = (i[worst], j[worst])
    angle = torch.rad2deg(similarity.angle[at])
    return float(similarity.cka[at]), float(similarity.control[at]), float(angle)
