"""What a probe saw: states of many sequences, with inputs, tokens, labels and logits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dynprobe.arrays import checked_lengths, fit_time, last_valid, own_floating, own_tensor
from dynprobe.errors import LargeStatesError, ShapeError
from dynprobe.notebook import table
from dynprobe.readout import Readout
from dynprobe.recording.kept_states import KeptStates
from dynprobe.recording.meta import RecordingMeta
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.nulls import can_differ, null_inputs
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.store import FACTORS, size


class Recording(KeptStates):
    """States of many sequences, padded at the end to one length.

    Attributes
    ----------
    states : Tensor
        (sequences, time, state_dim): the full state after each token, in the order in which the
        recurrence processed them; zeros after the end of a sequence. Raises LargeStatesError
        where something else was kept (:class:`dynprobe.Store`).
    lengths : Tensor
        (sequences,) valid rows, int64: steps, or of these the kept ones.
    steps : Tensor or None
        (sequences, time), which step each row belongs to, where not every step was kept.
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
    damaged : tuple of str
        What could not be read of a folder, and why.
    """

    damaged: tuple[str, ...] = ()

    def __init__(
        self,
        states: Tensor | None,
        meta: RecordingMeta,
        *,
        lengths: Tensor | None = None,
        inputs: Tensor | None = None,
        initial: Tensor | None = None,
        tokens: Tensor | None = None,
        labels: Tensor | None = None,
        logits: Tensor | None = None,
        steps: Tensor | None = None,
        form: RankOne | None = None,
        scale: Tensor | None = None,
        readout: Readout | None = None,
    ) -> None:
        super().__init__(
            states,
            meta,
            lengths=lengths,
            inputs=inputs,
            initial=initial,
            steps=steps,
            form=form,
            scale=scale,
        )
        self.readout = readout
        self.tokens: Tensor | None = None
        self.labels: Tensor | None = None
        self.logits: Tensor | None = None
        self.annotate(tokens=tokens, labels=labels, logits=logits)

    def has(self, name: str) -> bool:
        """Whether there are inputs, tokens, labels or logits."""
        return getattr(self, name) is not None

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
        ParameterError
            If `dt` is not a positive number.
        """
        x = own_floating(states)
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
            inputs=None if inputs is None else own_floating(inputs),
            initial=None if initial is None else own_floating(initial),
            tokens=None if tokens is None else own_tensor(tokens),
            labels=None if labels is None else own_tensor(labels),
            logits=None if logits is None else own_floating(logits),
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
        n, time = self.shape[:2]
        for name, value in (("tokens", tokens), ("labels", labels), ("logits", logits)):
            if value is None:
                continue
            x = own_tensor(value)
            if x.dim() == 0 or x.shape[0] != n:
                raise ShapeError(
                    f"{name} describe {x.shape[0] if x.dim() else 0} sequences, but the recording "
                    f"holds {n}: one entry for each recorded sequence, in the order of the calls."
                )
            if name == "tokens":
                x = fit_time(x, n, time)
            if name == "logits" and x.dim() == 3 and x.shape[1] != time:
                raise ShapeError(
                    f"logits have {x.shape[1]} steps, but the recording has {time}: give "
                    "(sequences, classes), or one row for each step."
                )
            setattr(self, name, x)
        if lengths is not None:
            if self.meta.store.reduces:
                raise LargeStatesError(
                    f"Lengths cannot be added to a recording of {self.meta.store}: give them to "
                    "the model, or name the argument with attach(..., lengths=)."
                )
            shorter = checked_lengths(own_tensor(lengths), n, time)
            if bool((shorter > self.lengths).any()):
                bad = int((shorter > self.lengths).nonzero()[0])
                raise ShapeError(
                    f"Sequence {bad} was recorded for {int(self.lengths[bad])} steps and cannot "
                    f"have {int(shorter[bad])}: lengths can only shorten."
                )
            self._shorten(shorter)
        return self

    @property
    def final_logits(self) -> Tensor | None:
        """(sequences, classes), the logits at the last valid step; None without logits."""
        if self.logits is None or self.logits.dim() == 2:
            return self.logits
        return last_valid(self.logits, self.lengths)

    def null(self, how: str, *, seed: int = 0) -> Recording:
        """The same recurrence with inputs whose order means nothing: a control for its states.

        Parameters
        ----------
        how : {"random", "phase"}
            Inputs of whole tokens permuted, or phase-randomised in time, see
            :func:`dynprobe.recurrences.nulls.null_inputs`.
        seed : int
            Of the draw.

        Returns
        -------
        Recording
            Of the same lengths and initial states, as factors; without tokens, labels and logits.
            Its notes say if some sequences are too short to differ.

        Raises
        ------
        LargeStatesError
            If there are no factors.
        ShapeError
            If all sequences are too short to differ.
        UnknownNameError
            For another `how`.
        """
        form, inputs, initial, scale = self._source()
        null = null_inputs(form, inputs, self.mask, how, seed)
        notes = [f"null: {how} inputs, seed {seed}"]
        if same := int((~can_differ(self.mask, how)).sum()):
            notes.append(f"{same} of {len(self)} sequences are too short for it, and as recorded")
        drawn = Recording(
            None,
            replace(
                self.meta,
                notes=tuple(notes),
                store=replace(self.meta.store, what=FACTORS),
            ),
            lengths=self.lengths,
            inputs=null,
            initial=initial,
            form=form,
            scale=scale,
        )
        drawn.budget = self.budget
        return drawn

    def batches(self, size: int = 256) -> Iterator[Recording]:
        """Cut into recordings of at most `size` sequences."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write to one safetensors file; ".safetensors" is added to a name without a suffix.

        Returns
        -------
        Path
            The file written. Read it with :func:`dynprobe.load`.
        """
        from dynprobe.storage import save

        return save(self, path)

    def to_pandas(self, components: int = 0, *, seed: int = 0) -> Any:
        """A pandas DataFrame with one row for each valid step that was kept.

        Columns: ``sequence`` and ``step``; ``token`` and, with a vocabulary, ``word``; ``label``
        and ``prediction`` where they are known, by name where the classes have names, or
        ``label.NAME`` and ``prediction.NAME`` where several labels may hold at once. The
        prediction is that of the step where the model reads out every step, else that of the whole
        sequence in each of its rows. States are left out: their principal components stand for
        them, which form no state that is kept as factors.

        Parameters
        ----------
        components : int
            How many principal components to add, as ``pc1``, ``pc2``, ...
        seed : int
            Of the principal components of factors.

        Raises
        ------
        MissingPackageError
            If pandas is not installed.
        LargeStatesError
            If components are asked for and projections were kept.
        """
        from dynprobe.frames.recording import recording_frame

        return recording_frame(self, components, seed)

    def __getitem__(self, index: slice | Tensor | int) -> Recording:
        """Some of the sequences: a slice, a mask or a tensor of numbers."""
        if isinstance(index, int):
            raise ShapeError(f"One sequence is rec[{index}:{index + 1}].")

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[index]

        per_sequence = self.scale is not None and self.scale.dim() == 4
        some = Recording(
            cut(self._kept),
            self.meta,
            lengths=self.lengths[index],
            inputs=cut(self.inputs),
            initial=cut(self.initial),
            tokens=cut(self.tokens),
            labels=cut(self.labels),
            logits=cut(self.logits),
            steps=cut(self.steps),
            form=self.form,
            scale=cut(self.scale) if per_sequence else self.scale,
            readout=self.readout,
        )
        some.budget = self.budget
        return some

    def __repr__(self) -> str:
        also = [n for n in ("inputs", "tokens", "labels", "logits") if self.has(n)]
        store = self.meta.store
        kept = "" if self.complete else f", kept: {store}"
        return (
            f"Recording({self.layer!r}: {len(self)} sequences, {int(self.lengths.sum())} states "
            f"of {self.layout}{', with ' + ', '.join(also) if also else ''}{kept})"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        also = [n for n in ("inputs", "tokens", "labels", "logits") if getattr(self, n) is not None]
        rows = [
            ["sequences", f"{len(self):,}"],
            ["states", f"{int(self.lengths.sum()):,} of {self.layout}"],
            ["kept", "every state" if self.complete else str(self.meta.store)],
            ["with", ", ".join(also) or "nothing else"],
            ["size", size(self.nbytes)],
            *(["note", note] for note in self.meta.notes),
        ]
        return table(f"Recording: {self.layer}", rows)
