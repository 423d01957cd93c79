"""The analyzer `evidence`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

import dynprobe
from dynprobe.errors import ShapeError
from dynprobe_evidence.drawing import draw, page
from dynprobe_evidence.tracing import trace


@dataclass(frozen=True)
class SequenceEvidence:
    """Where the last logits of one sequence came from: the shares add up to `logits`.

    Attributes
    ----------
    tokens : tuple of str
        Names, or numbers of steps where tokens are unknown.
    contributions : Tensor
        (tokens, classes), in logits; NaN for a first token whose state before is unknown (its
        share is then in `initial`).
    replaced : Tensor
        (tokens, classes), by how much the logits fall when the token alone is replaced by the
        reference input and the network runs again.
    initial, own, bias, logits : Tensor
        (classes,): of the state before the first token; of what the network does under the
        reference input; of the readout; and their sum with those of the tokens.
    label : int or None
        Where it is known.
    """

    tokens: tuple[str, ...]
    contributions: Tensor
    replaced: Tensor
    initial: Tensor
    own: Tensor
    bias: Tensor
    logits: Tensor
    label: int | None

    @property
    def predicted(self) -> int:
        """Number of the largest logit; of a single logit, 0."""
        return int(self.logits.argmax())


@dataclass(frozen=True)
class EvidenceResult:
    """Evidence traced through the dynamics to the last step.

    Attributes
    ----------
    sequences : tuple of SequenceEvidence
        The traced ones.
    classes : tuple of str
        Names.
    reference : str
        What a token's push is measured against.
    relative : bool
        Whether logits are meant less their mean over the classes, which no softmax sees.
    linear_error : float
        Sum of |contribution - effect of replacing| over that of |effect|: what the linear reading
        gets wrong; 0 where it is exact.
    correlation : float
        Of the two, over all tokens and classes; NaN where nothing varies.
    replay_error : float
        Largest difference between the last recorded state and the one reached by running the
        recurrence again in float64, over the root mean square of the recorded states' entries.
    """

    sequences: tuple[SequenceEvidence, ...]
    classes: tuple[str, ...]
    reference: str
    relative: bool
    linear_error: float
    correlation: float
    replay_error: float

    def summary(self) -> list[tuple[str, str]]:
        """Rows for a report."""
        shares = torch.stack(
            [
                torch.stack([s.contributions.nansum(0), s.initial, s.own, s.bias]).abs().mean(1)
                for s in self.sequences
            ]
        ).mean(0)
        names = ("tokens", "initial state", "network's own", "bias")
        return [
            ("sequences traced", str(len(self.sequences))),
            (
                "mean |share| of a logit",
                ", ".join(f"{n} {v:.3g}" for n, v in zip(names, shares.tolist(), strict=True)),
            ),
            ("reference input", self.reference),
            (
                "against replacing the token",
                f"off by {self.linear_error:.1%} in all, correlation {self.correlation:.3f}",
            ),
            ("states run again, off by", f"{self.replay_error:.1e} of a state's size"),
        ]

    def figure(self, n: int = 3) -> Figure:
        """The first n sequences with coloured tokens, for the class each is given to."""
        return draw(self, n)

    def to_html(self) -> str:
        """All sequences as one page of coloured text, without scripts."""
        return page(self)


class Evidence(dynprobe.Analyzer):
    """Trace each token's push through the linearised dynamics to the last logits.

    Parameters
    ----------
    n_sequences : int
        How many of the recorded sequences, the first ones.
    reference : {"mean", "zero"}
        The input that a token is compared with: the mean of the recorded ones, or zero.
    push : {"exact", "linear"}
        Of a token: F(s, x) - F(s, x*), or its linearisation B (x - x*).
    relative : bool
        Logits less their mean over the classes, where there are several: what decides.
    """

    name = "evidence"
    requires = frozenset({"inputs", "recurrence", "readout"})

    def __init__(
        self,
        n_sequences: int = 8,
        reference: str = "mean",
        push: str = "exact",
        relative: bool = True,
    ) -> None:
        if reference not in ("mean", "zero"):
            raise ValueError(f"reference is {reference!r}; it is 'mean' or 'zero'.")
        if push not in ("exact", "linear"):
            raise ValueError(f"push is {push!r}; it is 'exact' or 'linear'.")
        self.n_sequences = n_sequences
        self.reference = reference
        self.push = push
        self.relative = relative

    def analyze(self, ctx: dynprobe.Context) -> EvidenceResult:
        whole = ctx.recording
        assert whole.inputs is not None
        if whole.steps is not None:
            raise ShapeError(
                f"Of {whole.layer!r} not every step was kept, and evidence comes from every one: "
                "record with store='states' or store='factors'."
            )
        reference = torch.zeros(whole.inputs.shape[2], dtype=torch.float64)
        if self.reference == "mean":
            reference = whole.inputs[whole.mask].to("cpu", torch.float64).mean(0)
        known = whole.initial is not None
        rec = whole[(whole.lengths > (0 if known else 1)).nonzero().flatten()][: self.n_sequences]
        if len(rec) == 0:
            raise ShapeError(f"No sequence of {whole.layer!r} has a token to trace.")
        assert rec.inputs is not None
        inputs, lengths, start = rec.inputs, rec.lengths, rec.initial
        if start is None:  # nobody knows where the first step came from
            inputs, lengths, start = inputs[:, 1:], lengths - 1, rec.states[:, 0]
        weight, bias = _readout(ctx.readout, self.relative)
        found = trace(
            ctx.recurrence,
            weight,
            bias,
            start,
            inputs,
            lengths,
            reference,
            linear=self.push == "linear",
            progress=ctx.progress,
        )
        assert found.replaced is not None
        valid = torch.arange(inputs.shape[1]) < lengths[:, None]
        effect, linear = found.replaced[valid], found.contributions[valid]
        skipped = torch.full((len(rec), 0 if known else 1, len(weight)), torch.nan).double()
        contributions = torch.cat([skipped, found.contributions], 1)
        replaced = torch.cat([skipped, found.replaced], 1)
        names = _names(rec)
        sequences = tuple(
            SequenceEvidence(
                tokens=names[i],
                contributions=contributions[i, :n],
                replaced=replaced[i, :n],
                initial=found.initial[i],
                own=found.own[i],
                bias=found.bias,
                logits=found.logits[i],
                label=_label(rec, i),
            )
            for i, n in enumerate(rec.lengths.tolist())
        )
        classes = rec.meta.classes or ()
        classes = (*classes, *(f"class {i}" for i in range(len(classes), len(weight))))
        return EvidenceResult(
            sequences=sequences,
            classes=classes[: len(weight)],
            reference=f"{self.reference} input",
            relative=self.relative and len(weight) > 1,
            linear_error=float((linear - effect).abs().sum() / effect.abs().sum()),
            correlation=_correlation(linear.flatten(), effect.flatten()),
            replay_error=_replay(ctx.recurrence, start, inputs, lengths, rec.final),
        )


def _readout(readout: dynprobe.Readout, relative: bool) -> tuple[Tensor, Tensor | None]:
    weight, bias = readout.weight, readout.bias
    if not relative or readout.n_classes < 2:
        return weight, bias
    return readout.centred(), None if bias is None else bias - bias.mean()


def _replay(
    recurrence: dynprobe.Recurrence, start: Tensor, inputs: Tensor, lengths: Tensor, final: Tensor
) -> float:
    """How far the map, run in float64, ends from where the recording does."""
    s, x = (v.detach().to(recurrence.device, torch.float64) for v in (start, inputs))
    states = recurrence.rollout(s, x)
    last = states[torch.arange(len(s)), (lengths - 1).clamp(min=0)]
    recorded = final.to(last)
    return float((last - recorded).abs().max() / recorded.square().mean().sqrt())


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size > 0 else float("nan")


def _names(rec: dynprobe.Recording) -> list[tuple[str, ...]]:
    words = rec.meta.vocabulary
    lengths = rec.lengths.tolist()
    if rec.tokens is None:
        return [tuple(f"step {t + 1}" for t in range(n)) for n in lengths]
    return [
        tuple(words[i] if words is not None and 0 <= i < len(words) else str(i) for i in row[:n])
        for row, n in zip(rec.tokens.tolist(), lengths, strict=True)
    ]


def _label(rec: dynprobe.Recording, i: int) -> int | None:
    if rec.labels is None or rec.labels.dim() != 1 or rec.labels.is_floating_point():
        return None
    return int(rec.labels[i])
