"""The stream: the vectors that a model's linear classifier reads, at every position.

Where the classifier reads the state of a recurrence, this is that state. Elsewhere, in a
transformer say, layers lie between memory and classifier, and the memory is another thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn

from dynprobe.capture.hooks import Handles
from dynprobe.capture.select import named_modules, unwrap
from dynprobe.errors import NothingRecordedError, ReadoutError, ShapeError
from dynprobe.readout import Readout
from dynprobe.recording import Recording

#: How far logits of the recorded vectors may be from those that the model gave.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Read:
    """What one forward pass read out: (batch, time, width) vectors, and the logits."""

    linear: nn.Linear
    name: str
    states: Tensor
    logits: Tensor


class Stream:
    """Records the stream of a model while it runs; the model is only watched.

    The classifier is the last `nn.Linear` that a forward pass calls. Its vectors are what it is
    given, where that has a time axis, and else the last (batch, time, width) output of any module
    before it that has its width: the hidden states of which it read one.

    Parameters
    ----------
    model : nn.Module
        Any module tree, batch first.

    Examples
    --------
    >>> import torch, dynprobe
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    >>> with dynprobe.Stream(model) as stream:
    ...     _ = model(torch.randn(5, 7, 4))
    >>> stream.recording().states.shape
    torch.Size([5, 7, 8])
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, _ = unwrap(model)
        self._reads: list[Read] = []
        self._hidden: dict[int, Tensor] = {}
        self._last: Read | None = None
        self._missed = ""
        self._handles = Handles()
        for name, module in named_modules(self.model):
            self._handles.after(module, self._seen, name)
        # after the root's own, which may be the classifier itself
        self._handles.after(self.model, self._ended, "")
        self._finalizer = finalize(self, self._handles.remove)

    def _seen(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if isinstance(module, nn.Linear) and args and isinstance(args[0], Tensor):
            given, logits = args[0].detach(), output.detach()
            states = given if given.dim() == 3 else self._hidden.get(module.in_features)
            self._last = None
            if states is None or len(states) != len(given):
                self._missed = (
                    f"no module gives (batch, time, {module.in_features}) vectors before "
                    f"{name or 'the model'}"
                )
            else:
                self._last = Read(module, name, states, logits)
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, Tensor) and first.dim() == 3 and first.is_floating_point():
            self._hidden[first.shape[-1]] = first.detach()

    def _ended(self, name: str, module: nn.Module, *_: Any) -> None:
        if self._last is not None:
            read = self._last
            # a copy: what comes after may write into the same memory
            self._reads.append(
                Read(read.linear, read.name, read.states.clone(), read.logits.clone())
            )
        self._hidden, self._last = {}, None

    def recording(self, like: Recording | None = None) -> Recording:
        """Everything read so far as one recording, with the classifier as its readout.

        Parameters
        ----------
        like : Recording, optional
            Of a recurrence of the same calls: lengths, tokens, labels and names are taken from it.

        Raises
        ------
        NothingRecordedError
            If no forward pass had a classifier that reads vectors with a time axis.
        ReadoutError
            If several classifiers were read, or the last vectors do not give the logits (a pooled
            classifier, or one that something stands before).
        ShapeError
            If `like` has other sequences.
        """
        if not self._reads:
            why = self._missed or "no nn.Linear was called in a forward pass"
            raise NothingRecordedError(f"No stream was recorded: {why}.")
        names = sorted({read.name for read in self._reads})
        if len(names) > 1:
            raise ReadoutError(f"Calls were read out by several classifiers: {', '.join(names)}.")
        linear = self._reads[0].linear
        bias = None if linear.bias is None else linear.bias.detach().clone()
        readout = Readout(linear.weight.detach().clone(), bias, names[0] or "readout")
        time = max(read.states.shape[1] for read in self._reads)
        states = torch.cat(
            [nn.functional.pad(r.states, (0, 0, 0, time - r.states.shape[1])) for r in self._reads]
        )
        meta = None if like is None else like.meta
        if like is not None and (len(states) != len(like) or time < like.shape[1]):
            raise ShapeError(
                f"The stream has {len(states)} sequences of {time} steps, the recording of "
                f"{like.layer!r} {len(like)} of {like.shape[1]}: record both from the same calls."
            )
        found = Recording.from_arrays(
            states if like is None else states[:, : like.shape[1]],
            lengths=None if like is None else like.lengths,
            tokens=None if like is None else like.tokens,
            labels=None if like is None else like.labels,
            layer=f"stream of {readout.name}",
            vocabulary=None if meta is None else meta.vocabulary,
            classes=None if meta is None else meta.classes,
            dt=1.0 if meta is None else meta.dt,
            unit="steps" if meta is None else meta.unit,
        )
        found.readout = readout
        if all(read.logits.dim() == 2 for read in self._reads):
            self._check(found, readout)
            found.annotate(logits=torch.cat([read.logits for read in self._reads]))
        return found

    def _check(self, found: Recording, readout: Readout) -> None:
        given = torch.cat([read.logits for read in self._reads])
        again = readout(found.final)
        if not torch.allclose(again, given, rtol=TOLERANCE, atol=TOLERANCE):
            raise ReadoutError(
                f"{readout.name} does not read the last vector of each sequence (it pools, or "
                "sequences are padded on the left), so that no vector at a single position is what "
                "it classifies. If sequences end before the last step, say so with "
                "stream.recording(like), like a recording of the same calls that knows lengths."
            )

    def detach(self) -> None:
        """Take the hooks off; what was recorded stays."""
        self._finalizer()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        self.detach()
