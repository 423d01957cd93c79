"""From recorded calls to one padded recording: which steps are valid, and which tokens they are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dynprobe.capture.forward import Forward, LinearCall
from dynprobe.capture.layer import Layer, TracedCall, streams_of
from dynprobe.capture.padding import padded_by_tokens, padded_by_zeros
from dynprobe.capture.valid import valid_steps
from dynprobe.errors import RecordingWarning
from dynprobe.joining import along_batch, along_time, cat, common_scale
from dynprobe.readout import Readout
from dynprobe.recording import Recording, RecordingMeta
from dynprobe.recurrences.observer import Segment
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.store import FACTORS, STATES, Budget


@dataclass
class Piece:
    """The calls of one stream of sequences within one forward pass, valid steps first.

    Shapes: states (batch, time, state_dim), lengths (batch,), and so on. Where states follow from
    the inputs, `states` is None and `form` and `scale` say how.
    """

    states: Tensor | None
    lengths: Tensor
    initial: Tensor | None
    inputs: Tensor | None
    tokens: Tensor | None
    logits: Tensor | None
    labels: Tensor | None
    steps: Tensor | None
    #: (batch,) steps of the sequences, of which `lengths` rows were kept.
    counted: Tensor
    form: RankOne | None = None
    scale: Tensor | None = None
    #: Sequences that look padded, where nothing told their lengths.
    padded: int = 0
    #: Whether it goes on from the state that the piece before it ended in.
    handed_on: bool = True

    def formed(self, start: Tensor | None) -> Piece:
        """The same with its states formed, from another state before its first token."""
        if self.form is None or self.inputs is None or self.scale is None:
            return self
        start = self.initial if start is None else start
        assert start is not None
        states = self.form.factors(self.inputs, start, self.scale).states()
        return replace(self, states=states, initial=start, form=None, scale=None)

    @property
    def rows(self) -> Tensor:
        """What has one row for each step that was kept."""
        rows = self.inputs if self.states is None else self.states
        assert rows is not None
        return rows

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return self.lengths.shape[0]


def assemble(
    layer: Layer,
    suffix: str,
    meta: RecordingMeta,
    *,
    tokens_from: str | None,
    readout: Readout | None,
    budget: Budget,
) -> Recording:
    """Put all calls of one recurrence together.

    Parameters
    ----------
    tokens_from : str or None
        Name of the embedding whose ids are the tokens; None to take the unambiguous one.
    readout : Readout or None
        Its recorded outputs become the logits.
    budget : Budget
        What states formed from factors may take, when they are asked for.
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
        notes.append(
            f"{len(layer.calls)} calls joined into {len(streams)} "
            f"batch{'es' if len(streams) > 1 else ''} of sequences"
        )
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
    padded = sum(p.padded for p in joined)
    if padded:
        notes.append(f"{padded} sequences look padded, and their padding was recorded as states")
        warnings.warn(
            f"{padded} of the {sum(p.batch for p in joined)} sequences of {layer.name!r} look "
            "padded, but no lengths or mask were seen, so the states over their padding were "
            "recorded as any others. Give the model its attention_mask or lengths, name the "
            "argument that holds them with attach(..., lengths=), or shorten the sequences with "
            f"probe.recording({meta.layer!r}).annotate(lengths=...).",
            RecordingWarning,
            stacklevel=3,
        )
    if len({p.form is None for p in joined}) > 1:  # some had to be formed: all are
        joined = [p.formed(None) for p in joined]
    time = max(p.rows.shape[1] for p in joined)
    states = along_time([p.states for p in joined], time)
    if states is not None and meta.store.what == FACTORS:
        notes.append("not of rank one, or not one trajectory: every state was kept, no factors")
        meta = replace(meta, store=replace(meta.store, what=STATES))
    if states is not None and not meta.store.reduces and meta.store.dtype is not None:
        states = states.to(meta.store.dtype)
    meta = replace(meta, notes=tuple(dict.fromkeys(notes)))
    logits = [p.logits for p in joined]
    per_step = all(x is not None and x.dim() == 3 for x in logits)
    recording = Recording(
        states,
        meta,
        lengths=torch.cat([p.lengths for p in joined]),
        inputs=along_time([p.inputs for p in joined], time),
        initial=along_batch([p.initial for p in joined]),
        tokens=along_time([p.tokens for p in joined], time),
        labels=along_batch([p.labels for p in joined]),
        logits=along_time(logits, time) if per_step else along_batch(logits),
        steps=along_time([p.steps for p in joined], time),
        form=joined[0].form,
        scale=common_scale([(p.scale, p.batch) for p in joined]),
        readout=readout,
    )
    recording.budget = budget
    return recording


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
    given = [s.inputs for s in segments if s.inputs is not None]
    inputs = cat(given, dim=1) if len(given) == len(segments) else None
    kept = _kept(group, segments)
    if inputs is None and kept is None:
        notes.append("inputs unknown: dropout between the layers was active")
    batch, time = group[0].call.batch, sum(traced.call.time for traced in group)
    reverse = layer.observer.is_reverse(suffix)
    first, lengths = valid_steps(group, batch, time, notes, alone=alone)
    tokens = _tokens(group, batch, time, tokens_from, notes, layer, alone=alone)
    untold = alone and forward.attention_mask is None and forward.lengths is None
    padded = _padded(tokens, inputs, forward) if untold else 0
    logits = _logits(layer, group, readout, time)
    states = _states(group, segments)
    # a packed sequence is never run over its padding
    packed = group[0].call.lengths is not None
    start = segments[-1 if reverse and not packed else 0]
    initial: Tensor | None = start.initial
    steps, counted = None, lengths
    if kept is not None:
        # rows are some of the steps: from here on they are counted, not the steps
        rows = torch.arange(batch)[:, None]
        inside = (kept >= first[:, None]) & (kept < (first + lengths)[:, None])
        steps = (first + lengths)[:, None] - 1 - kept if reverse else kept - first[:, None]
        tokens = None if tokens is None else tokens[rows.to(tokens.device), kept.to(tokens.device)]
        if logits is not None and logits.dim() == 3:
            logits = logits[rows.to(logits.device), kept.to(logits.device)]
        first, lengths, time = (kept < first[:, None]).sum(1), inside.sum(1), kept.shape[1]
        initial = None
    elif not packed:
        initial = _initial(start, states, first, lengths, reverse)
    # index of each valid row, in the order in which the recurrence processed them
    order = torch.arange(time).expand(batch, time)
    order = (first + lengths - 1)[:, None] - order if reverse else first[:, None] + order
    whole = not reverse and bool((lengths == time).all())

    def take(x: Tensor | None) -> Tensor | None:
        if x is None or whole:
            return x
        keep = torch.arange(int(lengths.max()) if batch else 0) < lengths[:, None]
        index = order[:, : keep.shape[1]].clamp(0, max(time - 1, 0)).to(x.device)
        picked = x[torch.arange(batch, device=x.device)[:, None], index]
        beyond = ~keep.to(x.device)  # filled, not multiplied: padding may hold NaN
        return picked.masked_fill(beyond.reshape(*beyond.shape, *[1] * (x.dim() - 2)), 0)

    return Piece(
        states=take(states),
        lengths=lengths,
        initial=initial,
        inputs=take(inputs),
        tokens=take(tokens),
        logits=take(logits) if logits is not None and logits.dim() == 3 else logits,
        labels=_labels(forward, batch) if alone and not rearranged else None,
        steps=take(steps),
        counted=counted,
        form=segments[0].form if states is None else None,
        scale=segments[0].scale if states is None else None,
        padded=0 if packed else padded,
        handed_on=group[0].handed_on,
    )


def _padded(tokens: Tensor | None, inputs: Tensor | None, forward: Forward) -> int:
    """How many sequences look padded: by the embedding's padding token, or by steps of zeros."""
    paddings = {e.padding for e in forward.embeddings if e.padding is not None}
    if tokens is not None and len(paddings) == 1:
        return padded_by_tokens(tokens, paddings.pop())
    return 0 if inputs is None or tokens is not None else padded_by_zeros(inputs)


def _states(group: list[TracedCall], segments: list[Segment]) -> Tensor | None:
    """States of calls one after another; None where one trajectory follows from all inputs."""
    formed = [s.states for s in segments if s.states is not None]
    if formed:
        return cat(formed, dim=1)
    first = segments[0].scale
    assert first is not None
    same = all(s.scale is not None and torch.equal(s.scale, first) for s in segments)
    if same and all(traced.handed_on for traced in group[1:]):
        return None
    out: list[Tensor] = []
    for traced, segment in zip(group, segments, strict=True):
        if traced.handed_on and out:
            segment = replace(segment, initial=out[-1][:, -1])
        out.append(segment.factors.states())
    return torch.cat(out, dim=1)


def _kept(group: list[TracedCall], segments: list[Segment]) -> Tensor | None:
    """Steps that the rows of states belong to, (batch, rows); None where every step was kept."""
    if any(s.kept is None for s in segments):
        return None
    offset, out = 0, []
    for traced, segment in zip(group, segments, strict=True):
        assert segment.kept is not None
        out.append(segment.kept + offset)
        offset += traced.call.time
    return torch.cat(out, dim=1)


def _initial(
    start: Segment, states: Tensor | None, first: Tensor, lengths: Tensor, reverse: bool
) -> Tensor:
    """The state before the first valid step: padding that came before it has moved the state."""
    before = (first + lengths) if reverse else first - 1
    if states is None:
        if bool((before < 0).all()):
            return start.initial
        return start.factors.at(before.unsqueeze(1))[:, 0]
    at_edge = before >= states.shape[1] if reverse else before < 0
    rows = torch.arange(states.shape[0])
    moved = states[rows, before.clamp(0, states.shape[1] - 1)]
    return torch.where(at_edge[:, None].to(states.device), start.initial.to(states), moved)


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
    batch = pieces[0].batch
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
                begin = int(at[row])
                out[row, begin : begin + length] = value[row, :length]
            at = at + piece.lengths
        return out

    pieces = _one_trajectory(pieces)
    counted = torch.stack([p.counted for p in pieces])
    earlier = counted.cumsum(0) - counted
    steps = [
        None if p.steps is None else p.steps + e[:, None]
        for p, e in zip(pieces, earlier, strict=True)
    ]
    last = pieces[-1].logits
    per_step = last is not None and last.dim() == 3
    return Piece(
        states=place([p.states for p in pieces]),
        lengths=total,
        initial=pieces[0].initial,
        inputs=place([p.inputs for p in pieces]),
        tokens=place([p.tokens for p in pieces]),
        logits=place([p.logits for p in pieces]) if per_step else last,
        labels=pieces[-1].labels,
        steps=place(steps),
        counted=counted.sum(0),
        form=pieces[0].form,
        scale=pieces[0].scale,
    )


def _one_trajectory(pieces: list[Piece]) -> list[Piece]:
    """Pieces whose joint inputs make their states; formed one by one where they do not.

    That is so where one piece did not go on from where the last one ended, or the weights of the
    decay changed in between.
    """
    scale = pieces[0].scale
    if scale is None or all(
        p.handed_on and p.scale is not None and torch.equal(p.scale, scale) for p in pieces[1:]
    ):
        return pieces
    out: list[Piece] = []
    for piece in pieces:
        end = None
        if out and piece.handed_on:
            last, states = out[-1], out[-1].states
            assert states is not None
            rows = torch.arange(last.batch, device=states.device)
            end = states[rows, (last.lengths - 1).clamp(min=0).to(states.device)]
        out.append(piece.formed(end))
    return out
