"""The analyzer `lyapunov`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

import dynprobe
from dynprobe.errors import ShapeError
from dynprobe_lyapunov.spectrum import kaplan_yorke, lyapunov_spectrum

LONGEST_TRANSIENT = 100


@dataclass(frozen=True)
class LyapunovResult:
    """Lyapunov exponents along trajectories of one layer.

    Attributes
    ----------
    exponents, standard_error : Tensor
        (k,), per `unit`, largest first; the error of the mean over sequences.
    finite_time : Tensor
        (sequences, k), per `unit`, of each sequence.
    running : Tensor
        (steps, k), per `unit`: the estimate after so many counted steps.
    kaplan_yorke : float
        Dimension; NaN where k exponents do not determine it.
    state_dim, n_steps, n_sequences, transient : int
        Width of the state; steps counted in all; sequences; steps of each that did not count.
    along : str
        What input was given.
    unit : str
        Unit of time.
    """

    exponents: Tensor
    standard_error: Tensor
    finite_time: Tensor
    running: Tensor
    kaplan_yorke: float
    state_dim: int
    n_steps: int
    n_sequences: int
    transient: int
    along: str
    unit: str

    def summary(self) -> list[tuple[str, str]]:
        """Rows for a report."""
        unit = _one(self.unit)
        largest, error = float(self.exponents[0]), float(self.standard_error[0])
        growth = f"{largest:+.4g} ± {error:.2g} per {unit}"
        if not error < abs(largest) / 2:
            growth += ", not told from 0"
        undetermined = f"more than {len(self.exponents)}: ask for more exponents"
        dimension = self.kaplan_yorke
        return [
            ("largest exponent", growth),
            ("positive exponents", f"{int((self.exponents > 0).sum())} of {len(self.exponents)}"),
            ("sum of these", f"{float(self.exponents.sum()):+.4g} per {unit}"),
            (
                "Kaplan-Yorke dimension",
                undetermined if dimension != dimension else f"{dimension:.3g} of {self.state_dim}",
            ),
            (
                "along",
                f"{self.along}: {self.n_steps:,} steps of {self.n_sequences} sequences, after "
                f"{self.transient} each",
            ),
        ]

    def figure(self) -> Figure:
        """The exponents with their errors, and how the estimates settled."""
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        index = torch.arange(1, len(self.exponents) + 1)
        error = 2 * self.standard_error.nan_to_num(0)
        for ax in (left, right):
            ax.axhline(0, color="#6b7280", linewidth=0.8)
        finite = self.exponents.isfinite()
        left.errorbar(index[finite], self.exponents[finite], error[finite], fmt="o", markersize=4)
        left.set_title("Lyapunov exponents")
        left.set_xlabel("number (bars: 2 standard errors)")
        left.set_ylabel(f"growth per {_one(self.unit)} (natural log)")
        left.xaxis.get_major_locator().set_params(integer=True)
        right.plot(torch.arange(1, len(self.running) + 1), self.running, linewidth=1)
        right.set_title("as more steps count")
        right.set_xlabel("counted steps")
        return figure


def _one(unit: str) -> str:
    return "step" if unit == "steps" else unit


class Lyapunov(dynprobe.Analyzer):
    """Lyapunov exponents of a layer, along what it was given or under a held input.

    Parameters
    ----------
    k : int, optional
        How many of the largest; at most the width of the state. None: all of them.
    inputs : {"recorded", "mean", "zero"}, optional
        Along the recorded inputs (an input-driven system), or under the mean or the zero input,
        held. By default the recorded ones, or the zero input where none are known.
    steps : int
        How long held inputs are held.
    n_sequences : int
        How many recorded sequences at most are followed.
    transient : int, optional
        Steps that do not count; by default a quarter of the longest sequence, at most 100.
    """

    name = "lyapunov"
    requires = frozenset({"recurrence"})

    def __init__(
        self,
        k: int | None = 8,
        inputs: str | None = None,
        steps: int = 1000,
        n_sequences: int = 32,
        transient: int | None = None,
    ) -> None:
        if inputs not in (None, "recorded", "mean", "zero"):
            raise ValueError(f"inputs is {inputs!r}; it is 'recorded', 'mean' or 'zero'.")
        if k is not None and k < 1:
            raise ValueError(f"k is {k}; at least one exponent.")
        self.k = k
        self.inputs = inputs
        self.steps = steps
        self.n_sequences = n_sequences
        self.transient = transient

    def analyze(self, ctx: dynprobe.Context) -> LyapunovResult:
        rec = ctx.recording[: self.n_sequences]
        state, inputs, lengths, along = self._course(rec, ctx.recurrence)
        longest = int(lengths.max())
        transient = self.transient
        if transient is None:
            transient = min(longest // 4, LONGEST_TRANSIENT)
        n = ctx.recurrence.state_dim
        found = lyapunov_spectrum(
            ctx.recurrence,
            state,
            inputs,
            n if self.k is None else min(self.k, n),
            lengths=lengths,
            transient=transient,
            seed=ctx.seed,
            progress=ctx.progress,
        )
        dt = rec.meta.dt
        return LyapunovResult(
            exponents=found.exponents / dt,
            standard_error=found.standard_error / dt,
            finite_time=found.finite_time / dt,
            running=found.running / dt,
            kaplan_yorke=kaplan_yorke(found.exponents, n),
            state_dim=n,
            n_steps=found.n_steps,
            n_sequences=len(found.finite_time),
            transient=transient,
            along=along,
            unit=rec.meta.unit,
        )

    def _course(
        self, rec: dynprobe.Recording, recurrence: dynprobe.Recurrence
    ) -> tuple[Tensor, Tensor, Tensor, str]:
        """First states, inputs, their lengths, and what they are in words."""
        kind = self.inputs or ("zero" if rec.inputs is None else "recorded")
        if kind == "recorded":
            if rec.inputs is None or rec.steps is not None:
                raise ShapeError(
                    f"The recording of {rec.layer!r} does not hold the input of every step; "
                    "Lyapunov(inputs='zero') holds the zero input."
                )
            if rec.initial is not None:
                return rec.initial, rec.inputs, rec.lengths, "recorded inputs"
            first = rec.states[:, 0]  # nobody knows where the first step came from
            return first, rec.inputs[:, 1:], (rec.lengths - 1).clamp(min=0), "recorded inputs"
        held = torch.zeros(recurrence.input_dim, dtype=torch.float64)
        if kind == "mean":
            if rec.inputs is None:
                raise ShapeError(
                    f"The recording of {rec.layer!r} holds no inputs to take the mean of; "
                    "Lyapunov(inputs='zero') holds the zero input."
                )
            held = rec.inputs[rec.mask].to("cpu", torch.float64).mean(0)
        course = held.expand(len(rec), self.steps, -1)
        return rec.final, course, torch.full((len(rec),), self.steps), f"{kind} input, held"
