"""A padded batch without lengths is said to be one; nothing else is."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.capture.padding import padded_by_tokens, padded_by_zeros
from dynprobe.errors import NothingRecordedError, RecordingWarning


class Classifier(nn.Module):
    def __init__(self, padding_idx: int | None = 0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4, padding_idx=padding_idx)
        self.rnn = nn.GRU(4, 8, batch_first=True)

    def forward(self, tokens, lengths=None):
        return self.rnn(self.embedding(tokens))[0][:, -1]


def tokens(padding=0):
    ids = torch.randint(1, 10, (5, 7), generator=torch.Generator().manual_seed(0))
    ids[0, 4:] = ids[3, 6:] = padding
    return ids


def test_padding_tokens_without_lengths_are_warned_about_with_what_to_do():
    model = Classifier()
    with dynprobe.attach(model) as probe:
        model(tokens())
    with pytest.warns(RecordingWarning, match=r"2 of the 5 sequences of 'rnn'.*lengths=") as seen:
        rec = probe.recording()
    assert "probe.recording('rnn').annotate(lengths=...)" in str(seen[0].message)
    assert any("look padded" in note for note in rec.meta.notes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert probe.recording() is rec  # said once
    rec.annotate(lengths=[4, 7, 7, 6, 7])
    assert rec.flat().shape[0] == 31


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Classifier(None), tokens()),  # 0 is a token like any other
        (Classifier(), tokens(padding=5)),
    ],
)
def test_nothing_is_said_where_nothing_speaks_for_padding(model, given):
    with dynprobe.attach(model) as probe:
        model(given)
    probe.recording()


def test_nothing_is_said_where_lengths_were_given():
    model = Classifier()
    with dynprobe.attach(model) as probe:
        model(tokens(), torch.tensor([4, 7, 7, 6, 7]))
    assert probe.recording().lengths.tolist() == [4, 7, 7, 6, 7]


def test_inputs_that_end_in_zeros_look_padded():
    rnn = nn.GRU(3, 4, batch_first=True)
    x = torch.randn(4, 6, 3)
    x[1, 3:] = 0
    with dynprobe.attach(rnn) as probe:
        rnn(x)
    with pytest.warns(RecordingWarning, match="1 of the 4 sequences of 'gru' look padded"):
        probe.recording()


def test_padding_is_counted_on_either_side():
    right = torch.tensor([[1, 0, 0], [1, 2, 0], [3, 1, 2]])
    assert padded_by_tokens(right, 0) == 2
    assert padded_by_tokens(right.flip(1), 0) == 2


@pytest.mark.parametrize(
    "ids",
    [
        [[1, 2, 0], [1, 2, 3]],  # a single last token may be one that the text ends with
        [[1, 0, 0]],  # nobody pads one sequence
        [[1, 0, 0], [2, 0, 0]],  # nor all of them
        [[1, 0, 0], [2, 0, 3]],  # it is a token like any other
        [[0, 0, 1], [1, 0, 0]],
    ],
)
def test_what_may_be_something_else_is_not_called_padding(ids):
    assert padded_by_tokens(torch.tensor(ids), 0) == 0
    assert padded_by_tokens(torch.zeros(3, 0, dtype=torch.int64), 0) == 0


def test_zeros_between_other_inputs_are_inputs():
    pulses = torch.zeros(2, 5, 1)
    pulses[:, 2] = 1
    assert padded_by_zeros(pulses) == 0
    pulses[:, :2] = 1
    assert padded_by_zeros(pulses) == 0  # in all of them
    pulses[0] = 1
    assert padded_by_zeros(pulses) == 0  # one number may well be zero
    wide = pulses.repeat(1, 1, 3)
    assert padded_by_zeros(wide) == 1
    wide[1] = 0
    assert padded_by_zeros(wide) == 0  # a trial without a stimulus
    assert padded_by_zeros(torch.zeros(2, 0, 1)) == 0


def test_a_device_without_autocast_is_no_trouble_to_the_forward_pass():
    rnn = nn.GRU(3, 4, batch_first=True, device="meta")
    with dynprobe.attach(rnn) as probe:
        out, _ = rnn(torch.zeros(2, 5, 3, device="meta"))
    assert out.shape == (2, 5, 4)
    with pytest.raises(NothingRecordedError, match="'gru' ran on the meta device"):
        probe.recording()
