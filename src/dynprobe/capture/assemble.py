"""From recorded calls to one padded recording: which steps are valid, and which tokens they are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dynprobe.capture.forward import Forward, LinearCall
from dynprobe.capture.tracer import Layer, TracedCall, streams_of
from dynprobe.errors import SequenceError
from dynprobe.readout import Readout
from dynprobe.recording import Recording, RecordingMeta


@dataclass
class Piece:
    """The calls of one stream of sequences within one forward pass, valid steps first.

    Shapes: states (batch, time, state_dim), lengths (batch,), and so on.
    """

    states: Tensor
    lengths: Tensor
    initial: Tensor
    inputs: Tensor | None
    tokens: Tensor | None
    logits: Tensor | None
    labels: Tensor | None


def assemble(
    layer: Layer,
    suffix: str,
    meta: RecordingMeta,
    *,
    tokens_from: str | None,
    readout: Readout | None,
) -> Recording:
    """Put all calls of one recurrence together.

    Parameters
    ----------
    tokens_from : str or None
        Name of the embedding whose ids are the tokens; None to take the unambiguous one.
    readout : Readout or None
        Its recorded outputs become the logits.
    """
    notes: list[str] = []
    streams = streams_of(layer.calls)
    joined = []
    for stream in streams:
        parts = [
            _piece(layer, suffix, group, tokens_from, readout, notes)
            for group in _groups(layer, suffix, stream)
        ]
        joined.append(parts[0] if len(parts) == 1 else _continue(parts))
    if any(len(s) > 1 for s in streams):
        notes.append(f"{len(layer.calls)} calls joined into {len(streams)} batches of sequences")
    broken = sum(traced.broken for traced in layer.calls)
    if broken:
        notes.append(f"{broken} steps of a loop went on from a changed state: sequences cut there")
        warnings.warn(
            f"{layer.name!r} is called in a loop, but {broken} of its calls were given another "
            "state than the one returned before (masked, normalised, reset?), so sequences were "
            "cut there. If they belong together, run the model inside `with probe.sequence():`, "
            "and name the mask or lengths with attach(..., lengths=).",
            stacklevel=3,
        )
    time = max(p.states.shape[1] for p in joined)
    meta = replace(meta, notes=tuple(dict.fromkeys(notes)))
    states = _along_time([p.states for p in joined], time)
    assert states is not None
    logits = [p.logits for p in joined]
    per_step = all(x is not None and x.dim() == 3 for x in logits)
    return Recording(
        states,
        meta,
        lengths=torch.cat([p.lengths for p in joined]),
        inputs=_along_time([p.inputs for p in joined], time),
        initial=torch.cat([p.initial for p in joined]),
        tokens=_along_time([p.tokens for p in joined], time),
        labels=_along_batch([p.labels for p in joined]),
        logits=_along_time(logits, time) if per_step else _along_batch(logits),
        readout=readout,
    )


def _groups(layer: Layer, suffix: str, stream: list[TracedCall]) -> list[list[TracedCall]]:
    """Calls of a stream that are one piece: those of one forward pass.

    Each call is a piece of its own where calls end at different steps (packed), or run backwards.
    """
    apart = layer.observer.is_reverse(suffix) or any(c.call.lengths is not None for c in stream)
    groups: list[list[TracedCall]] = []
    for traced in stream:
        if groups and not apart and groups[-1][0].forward is traced.forward:
            groups[-1].append(traced)
        else:
            groups.append([traced])
    return groups


def _piece(
    layer: Layer,
    suffix: str,
    group: list[TracedCall],
    tokens_from: str | None,
    readout: Readout | None,
    notes: list[str],
) -> Piece:
    segments = [layer.segment(traced, suffix) for traced in group]
    forward = group[0].forward
    # what the model was given describes its one run of the layer; of several, nobody knows which
    alone = forward.runs.get(layer.name, 1) == 1
    if not alone:
        notes.append(
            "several runs of the layer in one forward pass: lengths and labels of the model's "
            "arguments are not used; add them with annotate()"
        )
    rearranged = any(traced.rearranged for traced in group)
    states = _cat([s.states for s in segments], dim=1)
    given = [s.inputs for s in segments if s.inputs is not None]
    inputs = _cat(given, dim=1) if len(given) == len(segments) else None
    if inputs is None:
        notes.append("inputs unknown: dropout between the layers was active")
    batch, time = states.shape[:2]
    reverse = layer.observer.is_reverse(suffix)
    first, lengths = _valid(group, batch, time, notes, alone=alone)
    # index of each valid step, in the order in which the recurrence processed them
    order = torch.arange(time).expand(batch, time)
    order = (first + lengths - 1)[:, None] - order if reverse else first[:, None] + order
    whole = not reverse and bool((lengths == time).all())

    def take(x: Tensor | None) -> Tensor | None:
        if x is None or whole:
            return x
        keep = torch.arange(int(lengths.max()) if batch else 0) < lengths[:, None]
        index = order[:, : keep.shape[1]].clamp(0, time - 1).to(x.device)
        picked = x[torch.arange(batch, device=x.device)[:, None], index]
        beyond = ~keep.to(x.device)  # filled, not multiplied: padding may hold NaN
        return picked.masked_fill(beyond.reshape(*beyond.shape, *[1] * (x.dim() - 2)), 0)

    taken = take(states)
    assert taken is not None
    logits = _logits(layer, group, readout, time)
    return Piece(
        states=taken,
        lengths=lengths,
        initial=(
            # a packed sequence is never run over its padding
            segments[0].initial
            if group[0].call.lengths is not None
            else _initial(segments[-1 if reverse else 0].initial, states, first, lengths, reverse)
        ),
        inputs=take(inputs),
        tokens=take(_tokens(group, batch, time, tokens_from, notes, layer, alone=alone)),
        logits=take(logits) if logits is not None and logits.dim() == 3 else logits,
        labels=_labels(forward, batch) if alone and not rearranged else None,
    )


def _initial(
    initial: Tensor, states: Tensor, first: Tensor, lengths: Tensor, reverse: bool
) -> Tensor:
    """The state before the first valid step: padding that came before it has moved the state."""
    before = (first + lengths) if reverse else first - 1
    at_edge = before >= states.shape[1] if reverse else before < 0
    rows = torch.arange(states.shape[0])
    moved = states[rows, before.clamp(0, states.shape[1] - 1)]
    return torch.where(at_edge[:, None].to(states.device), initial.to(states), moved)


def _valid(
    group: list[TracedCall], batch: int, time: int, notes: list[str], *, alone: bool
) -> tuple[Tensor, Tensor]:
    """First valid step and number of valid steps of each sequence."""
    zero = torch.zeros(batch, dtype=torch.int64)
    forward = group[0].forward
    if len(group) == 1 and group[0].call.lengths is not None:
        notes.append("lengths: packed sequence")
        return zero, group[0].call.lengths.cpu()
    if not alone:
        return zero, zero + time
    mask, lengths = forward.attention_mask, forward.lengths
    if mask is None and lengths is None:
        notes.append("lengths: every step counts (no lengths, mask or packing seen)")
        return zero, zero + time
    fed_by = group[0].fed_by
    other_input = (
        fed_by is not None
        and forward.input_ids is not None
        and not _same_ids(fed_by.embedding.ids, forward.input_ids)
    )
    if mask is not None and not other_input and mask.dim() == 2 and mask.shape[0] == batch:
        fitting = _fit_mask(mask.cpu() != 0, time, continues=group[0].continues)
        if fitting is not None:
            notes.append("lengths: attention mask")
            return _runs(fitting)
    fits = lengths is not None and lengths.shape == (batch,) and not other_input
    if fits and lengths is not None and bool(((lengths >= 0) & (lengths <= time)).all()):
        notes.append("lengths: the model's lengths argument")
        return zero, lengths.cpu().to(torch.int64)
    notes.append(
        "lengths: every step counts; the mask or lengths given to the model do not fit what this "
        "layer ran over (add lengths with annotate())"
    )
    return zero, zero + time


def _same_ids(a: Tensor, b: Tensor) -> bool:
    """Whether ids are the model's own, perhaps cut at the end or time first."""
    views = (b, b.T) if b.dim() == 2 else (b,)
    return any(
        a.dim() == v.dim() and torch.equal(a, v[tuple(slice(0, n) for n in a.shape)]) for v in views
    )


def _fit_mask(mask: Tensor, time: int, *, continues: bool) -> Tensor | None:
    """The columns of a mask that describe `time` steps; None if that cannot be told."""
    if mask.shape[1] == time:
        return mask
    if mask.shape[1] < time:
        return None
    if continues:  # the mask of a growing sequence covers the steps before, too
        return mask[:, -time:]
    if not bool(mask[:, time:].any()):  # padding on the right was cut off
        return mask[:, :time]
    if not bool(mask[:, :-time].any()):  # or on the left
        return mask[:, -time:]
    return None


def _runs(mask: Tensor) -> tuple[Tensor, Tensor]:
    count = mask.sum(1)
    first = mask.int().argmax(1)
    steps = torch.arange(mask.shape[1])
    run = (steps >= first[:, None]) & (steps < (first + count)[:, None])
    if not torch.equal(run, mask):
        bad = int((run != mask).any(1).nonzero()[0])
        raise SequenceError(
            f"The attention mask of sequence {bad} has a hole: valid steps must be one run, padded "
            "on the left or on the right."
        )
    return first, count


def _tokens(
    group: list[TracedCall],
    batch: int,
    time: int,
    wanted: str | None,
    notes: list[str],
    layer: Layer,
    *,
    alone: bool,
) -> Tensor | None:
    """Ids of shape (batch, time) that fed the layer, or None where that cannot be told."""
    forward = group[0].forward
    batch_first = bool(getattr(layer.module, "batch_first", True))
    fed = [t.fed_by for t in group if t.fed_by and wanted in (None, t.fed_by.embedding.name)]
    if len(fed) == len(group):
        # one call of the embedding for all steps, or one for each
        calls = list({id(f.embedding): f.embedding.ids for f in fed}.values())
        ids = _fit(calls, batch, time, batch_first, fed[0].step)
        if ids is not None:
            notes.append(f"tokens: {fed[0].embedding.name}")
            return ids
    if any(traced.rearranged for traced in group):
        notes.append(
            "tokens unknown: the layer was fed the embedding's output in another order (sorted, "
            "shifted or flipped); add tokens and labels with annotate()"
        )
        return None
    if not alone:
        return None
    found: dict[str, Tensor] = {}
    for name in dict.fromkeys(e.name for e in forward.embeddings):
        ids = _fit([e.ids for e in forward.embeddings if e.name == name], batch, time, batch_first)
        if ids is not None:
            found[name] = ids
    if wanted is not None:
        if wanted in found:
            notes.append(f"tokens: {wanted}")
        return found.get(wanted)
    source = set(found)
    direct = None
    if forward.input_ids is not None:
        direct = _fit([forward.input_ids], batch, time, batch_first)
    if len(source) == 1:
        (name,) = source
        notes.append(f"tokens: {name}")
        return found[name]
    if direct is not None:
        notes.append("tokens: input_ids")
        return direct
    if source:
        notes.append(
            f"tokens unknown: any of {sorted(source)} may be their embedding; name it with "
            "attach(..., tokens=)"
        )
    return None


def _fit(
    calls: list[Tensor], batch: int, time: int, batch_first: bool, step: int = 0
) -> Tensor | None:
    """Bring ids of one call, from `step` on, or of one call per step, to (batch, time)."""
    if len(calls) == time and all(ids.reshape(-1).shape == (batch,) for ids in calls):
        return torch.stack([ids.reshape(-1) for ids in calls], dim=1)
    if len(calls) != 1:
        return None
    ids = calls[0]
    if ids.dim() == 1 and batch == 1:
        ids = ids.unsqueeze(0 if batch_first else 1)
    if ids.dim() != 2:
        return None
    # both orders are possible around a time-first layer; where the shape does not decide it,
    # the layer's own order does
    for candidate in (ids, ids.T) if batch_first else (ids.T, ids):
        if candidate.shape[0] == batch and candidate.shape[1] >= step + time:
            return candidate[:, step : step + time]
    return None


def _logits(
    layer: Layer, group: list[TracedCall], readout: Readout | None, time: int
) -> Tensor | None:
    if readout is None:
        return None
    seen: list[LinearCall] = [
        c
        for c in group[0].forward.linears
        if c.layer == layer.name
        and c.name == readout.name
        and c.output is not None
        and any(c.source is traced.call for traced in group)
    ]
    outputs = [c.output for c in seen if c.output is not None]
    if not outputs:
        return None
    last = outputs[-1]
    batch = group[0].call.batch
    if seen[-1].when == "all":
        # one call over all steps, or a loop of calls over one step each
        whole = last if last.shape[1] == time else torch.cat(outputs, dim=1)
        return whole if whole.shape[:2] == (batch, time) else None
    if last.dim() == 1:
        last = last.unsqueeze(0)
    if len(outputs) == time and len(group) == time > 1:  # a loop that reads out every step
        return torch.stack(outputs, dim=1)
    return last if last.shape[0] == batch else None


def _labels(forward: Forward, batch: int) -> Tensor | None:
    labels = forward.labels
    if labels is None or labels.dim() not in (1, 2) or labels.shape[0] != batch:
        return None
    return labels


def _continue(pieces: list[Piece]) -> Piece:
    """Join pieces of the same sequences one after another."""
    batch = pieces[0].states.shape[0]
    total = torch.stack([p.lengths for p in pieces]).sum(0)
    time = int(total.max()) if batch else 0

    def place(values: list[Tensor | None]) -> Tensor | None:
        given = [v for v in values if v is not None]
        if len(given) < len(values):
            return None
        out = given[0].new_zeros(batch, time, *given[0].shape[2:])
        at = torch.zeros(batch, dtype=torch.int64)
        for value, piece in zip(given, pieces, strict=True):
            for row, length in enumerate(piece.lengths.tolist()):
                start = int(at[row])
                out[row, start : start + length] = value[row, :length]
            at = at + piece.lengths
        return out

    states = place([p.states for p in pieces])
    assert states is not None
    last = pieces[-1].logits
    per_step = last is not None and last.dim() == 3
    return Piece(
        states=states,
        lengths=total,
        initial=pieces[0].initial,
        inputs=place([p.inputs for p in pieces]),
        tokens=place([p.tokens for p in pieces]),
        logits=place([p.logits for p in pieces]) if per_step else last,
        labels=pieces[-1].labels,
    )


def _cat(parts: list[Tensor], dim: int) -> Tensor:
    """Concatenate; a single part is not copied, unless it is bound to inference mode."""
    if len(parts) == 1 and not parts[0].is_inference():
        return parts[0]
    return torch.cat(parts, dim=dim)


def _along_time(values: list[Tensor | None], time: int) -> Tensor | None:
    """Concatenate along sequences, time padded with zeros; None if a part is unknown."""
    given = [v for v in values if v is not None]
    if len(given) < len(values) or len({v.shape[2:] for v in given}) > 1:
        return None
    return _cat([_pad(v, time) for v in given], dim=0)


def _along_batch(values: list[Tensor | None]) -> Tensor | None:
    """Concatenate along sequences; None if a part is unknown or the shapes differ."""
    given = [v for v in values if v is not None]
    if len(given) < len(values) or len({v.shape[1:] for v in given}) > 1:
        return None
    return torch.cat(given)


def _pad(x: Tensor, time: int) -> Tensor:
    if x.shape[1] == time:
        return x
    out = x.new_zeros(x.shape[0], time, *x.shape[2:])
    out[:, : x.shape[1]] = x
    return out
