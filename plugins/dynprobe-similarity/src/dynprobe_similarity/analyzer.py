"""The analyzer `similarity`: what one layer's states have in common with what is known of them.

An analyzer is given one layer. What it can compare is that layer with its own parts, inputs and
logits; layers and models are compared by :func:`dynprobe_similarity.similarity_matrix`.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
from torch import Tensor

import dynprobe
from dynprobe.errors import DegenerateDataError, DynprobeError
from dynprobe.similarity import DMD, coordinates, dmd
from dynprobe_similarity.matrix import SimilarityMatrix, pairwise


@dataclass(frozen=True)
class LayerSimilarityResult:
    """What one layer's states have in common with its inputs, its parts and its logits.

    Attributes
    ----------
    cka, procrustes : SimilarityMatrix
        Over the recorded steps.
    linear : DMD or None
        The linear system that foresees the states best, inputs unseen: how far "dsa" can describe
        this layer. None where `why_not_linear` says why.
    why_not_linear : str
        Empty, or why there is no such fit.
    """

    cka: SimilarityMatrix
    procrustes: SimilarityMatrix
    linear: DMD | None
    why_not_linear: str = ""

    def summary(self) -> list[tuple[str, str]]:
        """Rows for a report."""
        first, *others = self.cka.names
        rows = [
            (
                f"{first} and {other}",
                f"CKA {self.cka[first, other]:.3f}, Procrustes angle "
                f"{self.procrustes[first, other]:.3f} rad",
            )
            for other in others
        ]
        fit = self.why_not_linear or repr(self.linear)
        return [*rows, ("linear dynamics", fit)]

    def figure(self) -> Figure:
        """The matrix of CKA."""
        return self.cka.figure()


class LayerSimilarity(dynprobe.Analyzer):
    """Compare a layer's states with its inputs, its parts and, where read out at each step, logits.

    Parameters
    ----------
    n_points : int
        How many steps at most are compared, evenly spread over all.
    delays, rank : int, optional
        Of the linear fit, see :func:`dynprobe.similarity.dmd`.
    """

    name = "similarity"
    requires = frozenset({"states", "inputs"})

    def __init__(self, n_points: int = 20_000, delays: int = 1, rank: int | None = None) -> None:
        self.n_points = n_points
        self.delays = delays
        self.rank = rank

    def analyze(self, ctx: dynprobe.Context) -> LayerSimilarityResult:
        rec = ctx.recording
        clouds = _clouds(rec)
        step = max(1, -(-len(clouds["states"]) // self.n_points))
        drawn = {name: cloud[::step] for name, cloud in clouds.items()}
        points = {name: _narrow(cloud) for name, cloud in drawn.items() if _varies(cloud)}
        if len(points) < 2:
            raise DegenerateDataError(
                f"Of {rec.layer!r} nothing that varies is there to compare the states with."
            )
        linear, why = None, ""
        try:
            courses = [s[:n] for s, n in zip(rec.states, rec.lengths.tolist(), strict=True)]
            linear = dmd(courses, delays=self.delays, rank=self.rank)
        except DynprobeError as error:
            why = str(error)
        return LayerSimilarityResult(
            pairwise(points, "cka"), pairwise(points, "procrustes"), linear, why
        )


def _clouds(rec: dynprobe.Recording) -> dict[str, Tensor]:
    """(valid steps, width) each: the states first."""
    assert rec.inputs is not None
    clouds = {"states": rec.flat()}
    if len(rec.layout.names) > 1:
        clouds |= {f"part {n}": rec.part(n).flatten(2)[rec.mask] for n in rec.layout.names}
    clouds["inputs"] = rec.inputs[rec.mask]
    if rec.logits is not None and rec.logits.dim() == 3:
        clouds["logits"] = rec.logits[rec.mask.to(rec.logits.device)]
    return clouds


def _varies(cloud: Tensor) -> bool:
    return not bool((cloud == cloud[:1]).all())


def _narrow(cloud: Tensor) -> Tensor:
    """The same in no more columns than points."""
    return coordinates(cloud.double() @ cloud.double().T) if cloud.shape[1] > len(cloud) else cloud
