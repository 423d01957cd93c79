"""A recording as a table: one row a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dynprobe.errors import ParameterError
from dynprobe.frames.pandas import data_frame

if TYPE_CHECKING:
    from dynprobe.recording import Recording


def recording_frame(recording: Recording, components: int, seed: int) -> Any:
    """See :meth:`dynprobe.Recording.to_pandas`."""
    if not isinstance(components, int) or components < 0:
        raise ParameterError(f"components is {components!r}; give a number of columns, or 0.")
    mask, meta = recording.mask.cpu(), recording.meta
    sequence, row = mask.nonzero().T
    step = row if recording.steps is None else recording.steps.cpu()[mask]
    columns: dict[str, Any] = {"sequence": sequence.numpy(), "step": step.numpy()}
    if recording.tokens is not None:
        tokens = recording.tokens.cpu()[mask]
        columns["token"] = tokens.numpy()
        if meta.vocabulary is not None:
            columns["word"] = _named(tokens, meta.vocabulary)
    by_step = _of_steps(recording)
    if recording.labels is not None:
        labels = recording.labels.cpu()
        given = labels[mask] if by_step else labels[sequence]
        columns |= _answers("label", given, meta.classes)
    if recording.logits is not None:
        logits = recording.logits.detach().cpu()
        each = logits[sequence] if logits.dim() == 2 else logits[mask]
        several = recording.labels is not None and recording.labels.dim() == 2 and not by_step
        columns |= _answers("prediction", _answered(each, several), meta.classes)
    if components:
        scores = recording.pca(components, seed=seed).scores.cpu()[mask]
        columns |= {f"pc{i + 1}": scores[:, i].numpy() for i in range(scores.shape[1])}
    return data_frame(columns)


def _of_steps(recording: Recording) -> bool:
    """Whether each step has a label of its own, as in language models, and not each sequence."""
    labels, logits = recording.labels, recording.logits
    return (
        labels is not None
        and logits is not None
        and logits.dim() == 3
        and labels.shape == recording.mask.shape
    )


def _answered(logits: Tensor, several: bool) -> Tensor:
    """(rows,) classes, or (rows, labels) where each logit answers a question of its own."""
    if several and logits.shape[1] > 1:
        return logits > 0
    if logits.shape[1] == 1:  # one logit tells two classes apart by its sign
        return (logits[:, 0] > 0).long()
    return logits.argmax(1)


def _answers(what: str, values: Tensor, names: Sequence[str] | None) -> dict[str, Any]:
    """One column of classes, or one for each of several labels."""
    if values.dim() == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dim() == 1:
        whole = not values.is_floating_point()
        named = whole and names is not None
        return {what: _named(values, names or ()) if named else values.numpy()}
    which = names if names is not None and len(names) == values.shape[1] else range(values.shape[1])
    columns = values if values.is_floating_point() else values.to(torch.bool)
    return {f"{what}.{name}": columns[:, i].numpy() for i, name in enumerate(which)}


def _named(ids: Tensor, names: Sequence[str]) -> list[str | None]:
    """Names of ids; None for an id without one, such as the label -100."""
    return [names[i] if 0 <= i < len(names) else None for i in ids.tolist()]
