"""Small recordings that have everything an analyzer may ask for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynprobe.readout import Readout
from dynprobe.recording import Recording, RecordingMeta
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.gated import GRURecurrence
from dynprobe.recurrences.kernel import RankOneRecurrence
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.store import FACTORS, Store

WORDS = ("good", "bad", "film", "the", "<pad>")
CLASSES = ("up", "down", "flat")


@dataclass(frozen=True)
class Sample:
    """What an analyzer is checked on.

    Attributes
    ----------
    recording : Recording
        With everything the analyzer needs.
    recurrence : Recurrence or None
        The map that made the states.
    """

    recording: Recording
    recurrence: Recurrence | None = None

    def only(self, requires: frozenset[str]) -> Sample:
        """The same without what is not required."""
        rec = self.recording
        # the inputs of a recording of factors are its states
        keep = set(requires) | ({"inputs"} if rec.form is not None else set())
        bare = Recording(
            rec.kept,
            rec.meta,
            lengths=rec.lengths,
            inputs=rec.inputs if "inputs" in keep else None,
            initial=rec.initial if rec.form is not None else None,
            tokens=rec.tokens if "tokens" in keep else None,
            labels=rec.labels if "labels" in keep else None,
            logits=rec.logits if "logits" in keep else None,
            form=rec.form,
            scale=rec.scale,
            readout=rec.readout if "readout" in keep else None,
        )
        return Sample(bare, self.recurrence if "recurrence" in keep else None)

    def padded(self, steps: int) -> Sample:
        """The same sequences with more padding behind them."""
        rec = self.recording

        def longer(x: Tensor | None) -> Tensor | None:
            if x is None:
                return None
            return torch.cat([x, x.new_zeros(x.shape[0], steps, *x.shape[2:])], dim=1)

        logits = rec.logits
        wide = Recording(
            longer(rec.kept),
            rec.meta,
            lengths=rec.lengths,
            inputs=longer(rec.inputs),
            initial=rec.initial,
            tokens=longer(rec.tokens),
            labels=rec.labels,
            logits=longer(logits) if logits is not None and logits.dim() == 3 else logits,
            steps=longer(rec.steps),
            form=rec.form,
            scale=rec.scale,
            readout=rec.readout,
        )
        return Sample(wide, self.recurrence)


def sample_for(requires: frozenset[str], seed: int = 0) -> Sample:
    """A GRU that reads words, or linear attention where factors are required."""
    return linear_attention(seed) if "factors" in requires else word_gru(seed)


def word_gru(seed: int = 0, units: int = 6) -> Sample:
    """A GRU of random weights on 24 sequences of 6 to 14 words, three classes, padded."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    # by way of the meta device: an initialisation would draw from the global random state
    module = nn.GRU(3, units, batch_first=True, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(1.2 * draw(*p.shape) / units**0.5)
    recurrence = GRURecurrence(module, "_l0")
    lengths = torch.randint(6, 15, (24,), generator=generator)
    lengths[0] = 14
    valid = torch.arange(14) < lengths[:, None]
    tokens = torch.randint(0, 4, (24, 14), generator=generator).masked_fill(~valid, 4)
    inputs = torch.where(valid[..., None], draw(5, 3)[tokens], 0)
    initial = torch.zeros(24, units)
    with torch.no_grad():
        states = torch.where(valid[..., None], recurrence.rollout(initial, inputs), 0)
    readout = Readout(draw(3, units), draw(3), "head")
    recording = Recording(
        states,
        RecordingMeta("gru", recurrence.layout, WORDS, CLASSES),
        lengths=lengths,
        inputs=inputs,
        initial=initial,
        tokens=tokens,
        readout=readout,
    )
    logits = readout(recording.final)
    recording.annotate(logits=logits, labels=logits.argmax(-1).roll(1))
    return Sample(recording, recurrence)


def linear_attention(seed: int = 0) -> Sample:
    """Linear attention with a normaliser and a decay, kept as factors."""
    generator = torch.Generator().manual_seed(seed)
    heads, key, value = 2, 3, 4
    form = RankOne(
        Layout.of(S=(heads, key, value), Z=(heads, key)),
        heads,
        key,
        value,
        k_groups=heads,
        u_groups=heads,
        rates=0,
        normaliser=True,
    )
    module = nn.Module()
    module.decay = nn.Parameter(torch.tensor([0.9, 0.7]))

    def scale(m: nn.Module) -> Tensor:
        decay = m.decay
        assert isinstance(decay, Tensor)
        return decay.detach().log().reshape(-1, 1, 1)

    recurrence = RankOneRecurrence(module, form, scale)
    lengths = torch.randint(6, 15, (12,), generator=generator)
    lengths[0] = 14
    valid = torch.arange(14) < lengths[:, None]
    drawn = torch.randn(12, 14, form.inputs.size, generator=generator).abs()
    recording = Recording(
        None,
        RecordingMeta("attention", form.layout, WORDS, CLASSES, store=Store(FACTORS)),
        lengths=lengths,
        inputs=torch.where(valid[..., None], drawn, 0),
        initial=torch.zeros(12, form.layout.size),
        tokens=torch.randint(0, 4, (12, 14), generator=generator).masked_fill(~valid, 4),
        labels=torch.arange(12) % 3,
        logits=torch.randn(12, 3, generator=generator),
        form=form,
        scale=scale(module),
    )
    return Sample(recording, recurrence)
