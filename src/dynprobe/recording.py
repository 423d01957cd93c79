"""What a probe saw: states of many sequences, with inputs, tokens, labels and logits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynprobe.errors import NonFiniteStatesError, ShapeError
from dynprobe.readout import Readout
from dynprobe.recurrences.layout import Layout


@dataclass(frozen=True)
class RecordingMeta:
    """What is true of every batch of a recording.

    Attributes
    ----------
    layer : str
        Key of the recurrence.
    layout : Layout
        Parts of the state.
    vocabulary, classes : tuple of str or None
        Names of tokens by id and of classes by label.
    dt, unit : float, str
        Length of one step, for time constants.
    notes : tuple of str
        How lengths, tokens and sequences were found.
    """

    layer: str
    layout: Layout
    vocabulary: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    dt: float = 1.0
    unit: str = "steps"
    notes: tuple[str, ...] = ()


class Recording:
    """States of many sequences, padded at the end to one length.

    Attributes
    ----------
    states : Tensor
        (sequences, time, state_dim): the full state after each token, in the order in which the
        recurrence processed them; zeros after the end of a sequence.
    lengths : Tensor
        (sequences,) valid steps, int64.
    inputs : Tensor or None
        (sequences, time, input_dim), what the recurrence saw.
    initial : Tensor or None
        (sequences, state_dim), the state before the first token; None where it is unknown.
    tokens : Tensor or None
        (sequences, time) token ids.
    labels : Tensor or None
        (sequences,) or (sequences, labels).
    logits : Tensor or None
        (sequences, classes), or (sequences, time, classes) where the model reads out every step.
    readout : Readout or None
        The linear readout, where it is known.
    meta : RecordingMeta
        Layer, layout, names.
    """

    def __init__(
        self,
        states: Tensor,
        meta: RecordingMeta,
        *,
        lengths: Tensor | None = None,
        inputs: Tensor | None = None,
        initial: Tensor | None = None,
        tokens: Tensor | None = None,
        labels: Tensor | None = None,
        logits: Tensor | None = None,
        readout: Readout | None = None,
    ) -> None:
        if states.dim() != 3:
            raise ShapeError(
                f"states must be (sequences, time, state_dim), got shape {tuple(states.shape)}. "
                "One trajectory is states[None]; states without time are states[:, None]."
            )
        if states.shape[-1] != meta.layout.size:
            raise ShapeError(
                f"states have width {states.shape[-1]}, but the layout {meta.layout} has "
                f"{meta.layout.size}."
            )
        sequences, time, width = states.shape
        self.states = states
        self.meta = meta
        self.lengths = _lengths(lengths, sequences, time)
        self.initial = initial
        self.inputs = inputs
        self.readout = readout
        self.tokens: Tensor | None = None
        self.labels: Tensor | None = None
        self.logits: Tensor | None = None
        if inputs is not None and inputs.shape[:2] != (sequences, time):
            raise ShapeError(
                f"inputs have shape {tuple(inputs.shape)}; they must begin with (sequences, time) "
                f"= ({sequences}, {time}) as the states do."
            )
        if initial is not None and initial.shape != (sequences, width):
            raise ShapeError(
                f"initial has shape {tuple(initial.shape)}, expected ({sequences}, {width})."
            )
        self.annotate(tokens=tokens, labels=labels, logits=logits)

    @classmethod
    def from_arrays(
        cls,
        states: Any,
        inputs: Any = None,
        lengths: Any = None,
        tokens: Any = None,
        labels: Any = None,
        logits: Any = None,
        *,
        initial: Any = None,
        layer: str = "states",
        layout: Layout | None = None,
        vocabulary: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        dt: float = 1.0,
        unit: str = "steps",
    ) -> Recording:
        """Make a recording of arrays from elsewhere: neural data, JAX, another framework.

        Parameters
        ----------
        states : array_like
            (sequences, time, state_dim), anything numpy or torch can read.
        inputs, lengths, tokens, labels, logits : array_like, optional
            As the attributes of the same names. Without `lengths` every step counts as valid.
        initial : array_like, optional
            (sequences, state_dim), the state before the first step, where it is known.
        layer : str
            Name to use in reports.
        layout : Layout, optional
            Parts of the state; one part "s" by default.
        vocabulary, classes : sequence of str, optional
            Names of tokens and classes.
        dt, unit : float, str
            Length of one step.

        Raises
        ------
        ShapeError
            If the shapes do not belong together.
        """
        x = _floating(states)
        meta = RecordingMeta(
            layer,
            layout or Layout.of(s=x.shape[-1] if x.dim() else 0),
            None if vocabulary is None else tuple(vocabulary),
            None if classes is None else tuple(classes),
            dt,
            unit,
        )
        recording = cls(
            x,
            meta,
            inputs=None if inputs is None else _floating(inputs),
            initial=None if initial is None else _floating(initial),
            tokens=None if tokens is None else _tensor(tokens),
            labels=None if labels is None else _tensor(labels),
            logits=None if logits is None else _floating(logits),
        )
        return recording if lengths is None else recording.annotate(lengths=lengths)

    def annotate(
        self, *, tokens: Any = None, labels: Any = None, logits: Any = None, lengths: Any = None
    ) -> Recording:
        """Add what the probe could not see, in the order of the recorded sequences.

        Parameters
        ----------
        tokens : array_like, optional
            (sequences, time); a longer time axis is an error, a shorter one is padded.
        labels : array_like, optional
            (sequences,) or (sequences, labels).
        logits : array_like, optional
            (sequences, classes) or (sequences, time, classes).
        lengths : array_like, optional
            (sequences,): shorten the sequences; states after the end are cleared.

        Returns
        -------
        Recording
            The recording itself.

        Raises
        ------
        ShapeError
            If the number of sequences or steps does not fit.
        """
        n, time = self.states.shape[:2]
        for name, value in (("tokens", tokens), ("labels", labels), ("logits", logits)):
            if value is None:
                continue
            x = _tensor(value)
            if x.dim() == 0 or x.shape[0] != n:
                raise ShapeError(
                    f"{name} describe {x.shape[0] if x.dim() else 0} sequences, but the recording "
                    f"holds {n}: one entry for each recorded sequence, in the order of the calls."
                )
            if name == "tokens":
                x = _fit_time(x, n, time)
            if name == "logits" and x.dim() == 3 and x.shape[1] != time:
                raise ShapeError(
                    f"logits have {x.shape[1]} steps, but the recording has {time}: give "
                    "(sequences, classes), or one row for each step."
                )
            setattr(self, name, x)
        if lengths is not None:
            self.lengths = _lengths(_tensor(lengths), n, time)
            # not by multiplication: what is padded may hold NaN
            valid = self.mask[..., None]
            self.states = torch.where(valid, self.states, 0)
            if self.inputs is not None:
                self.inputs = torch.where(valid, self.inputs, 0)
        return self

    @property
    def layer(self) -> str:
        """Key of the recurrence."""
        return self.meta.layer

    @property
    def layout(self) -> Layout:
        """Parts of the state."""
        return self.meta.layout

    @property
    def mask(self) -> Tensor:
        """(sequences, time), True where a step is valid."""
        time = torch.arange(self.states.shape[1], device=self.lengths.device)
        return (time < self.lengths[:, None]).to(self.states.device)

    @property
    def final(self) -> Tensor:
        """(sequences, state_dim), the last valid state of each sequence."""
        return _last(self.states, self.lengths)

    @property
    def final_logits(self) -> Tensor | None:
        """(sequences, classes), the logits at the last valid step; None without logits."""
        if self.logits is None or self.logits.dim() == 2:
            return self.logits
        return _last(self.logits, self.lengths)

    @property
    def before(self) -> Tensor:
        """(sequences, time, state_dim), the state before each token; NaN where it is unknown."""
        first = self.initial
        if first is None:
            first = self.states.new_full((len(self), self.states.shape[-1]), torch.nan)
        return torch.cat([first.unsqueeze(1), self.states[:, :-1]], dim=1)

    def part(self, name: str) -> Tensor:
        """(sequences, time, *shape), one named part of the state, such as "c" of an LSTM."""
        parts = dict(self.meta.layout.parts)
        where = self.meta.layout.slice(name)
        part: Tensor = self.states[..., where].unflatten(-1, parts[name])
        return part

    def flat(self) -> Tensor:
        """(valid tokens, state_dim): every valid state, sequence after sequence."""
        return self.states[self.mask]

    def sample(self, n: int, noise: float = 0.0, seed: int = 0) -> Tensor:
        """Draw seeds for a fixed-point search from the valid states.

        Parameters
        ----------
        n : int
            How many; drawn without replacement while there are enough states.
        noise : float
            Standard deviation of Gaussian noise added to every number.
        seed : int
            Seed of the draw; global random state is not touched.

        Returns
        -------
        Tensor
            (n, state_dim).
        """
        states = self.flat()
        if len(states) == 0:
            raise ShapeError("The recording holds no valid step to sample from.")
        generator = torch.Generator().manual_seed(seed)
        if n <= len(states):
            index = torch.randperm(len(states), generator=generator)[:n]
        else:
            index = torch.randint(len(states), (n,), generator=generator)
        drawn = states[index.to(states.device)]
        jitter = torch.randn(drawn.shape, generator=generator, dtype=drawn.dtype)
        return drawn + noise * jitter.to(drawn.device)

    def batches(self, size: int = 256) -> Iterator[Recording]:
        """Cut into recordings of at most `size` sequences."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def check_finite(self) -> None:
        """Raise NonFiniteStatesError, naming the first place, if a valid state has NaN or Inf."""
        bad = ~self.states.isfinite().all(-1) & self.mask
        if bad.any():
            sequence, step = (int(i) for i in bad.nonzero()[0])
            units = (~self.states[sequence, step].isfinite()).nonzero().flatten().tolist()
            raise NonFiniteStatesError(
                f"The states of {self.layer!r} hold NaN or Inf at {int(bad.sum())} of "
                f"{int(self.lengths.sum())} steps, first at sequence {sequence}, step {step}, "
                f"units {units[:5]}. The model diverged there; look at its inputs and weights. "
                "The recording itself is kept: rec.states shows it."
            )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write to one safetensors file; ".safetensors" is added to a name without a suffix.

        Returns
        -------
        Path
            The file written. Read it with :func:`dynprobe.load`.
        """
        from dynprobe.storage import save

        return save(self, path)

    def __len__(self) -> int:
        """Number of sequences."""
        return self.states.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Recording:
        """Some of the sequences."""

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[index]

        return Recording(
            self.states[index],
            self.meta,
            lengths=self.lengths[index],
            inputs=cut(self.inputs),
            initial=cut(self.initial),
            tokens=cut(self.tokens),
            labels=cut(self.labels),
            logits=cut(self.logits),
            readout=self.readout,
        )

    def __repr__(self) -> str:
        also = [n for n in ("inputs", "tokens", "labels", "logits") if getattr(self, n) is not None]
        return (
            f"Recording({self.layer!r}: {len(self)} sequences, {int(self.lengths.sum())} states "
            f"of {self.layout}{', with ' + ', '.join(also) if also else ''})"
        )


def _tensor(value: Any) -> Tensor:
    # a copy in every case: a recording never shares memory with what the caller may change
    if isinstance(value, Tensor):
        return value.detach().clone()
    try:
        return torch.from_numpy(np.array(value))
    except (ValueError, TypeError) as error:
        raise ShapeError(
            f"These values do not make one array: {error}. Pad sequences of different length to "
            "one length and say how long each is with lengths="
        ) from error


def _floating(value: Any) -> Tensor:
    x = _tensor(value)
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def _lengths(lengths: Tensor | None, sequences: int, time: int) -> Tensor:
    if lengths is None:
        return torch.full((sequences,), time, dtype=torch.int64)
    out = lengths.to("cpu", torch.int64)
    if out.shape != (sequences,):
        raise ShapeError(
            f"lengths have shape {tuple(out.shape)}; one number per sequence is needed, "
            f"({sequences},)."
        )
    if sequences and (int(out.min()) < 0 or int(out.max()) > time):
        raise ShapeError(
            f"lengths lie between {int(out.min())} and {int(out.max())}, but the recording has "
            f"{time} steps."
        )
    return out


def _fit_time(tokens: Tensor, sequences: int, time: int) -> Tensor:
    if tokens.dim() != 2 or tokens.shape[1] > time:
        raise ShapeError(
            f"tokens have shape {tuple(tokens.shape)}; (sequences, time) is needed with at most "
            f"({sequences}, {time})."
        )
    return torch.nn.functional.pad(tokens, (0, time - tokens.shape[1]))


def _last(x: Tensor, lengths: Tensor) -> Tensor:
    index = (lengths.to(x.device) - 1).clamp(min=0)
    return x[torch.arange(x.shape[0], device=x.device), index]
