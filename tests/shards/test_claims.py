"""A folder belongs to one writer, and what a probe forgets has been written before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.errors import FileFormatError


def model():
    return nn.GRU(2, 3, batch_first=True)


def batch():
    return torch.randn(4, 5, 2)


def test_a_probe_that_is_cleared_after_every_batch_writes_all_of_them(tmp_path):
    rnn = model()
    with dynprobe.attach(rnn) as probe, torch.no_grad(), probe.record_to(tmp_path / "run"):
        for _ in range(5):
            rnn(batch())
            probe.clear()
    assert len(dynprobe.load(tmp_path / "run")) == 20


def test_a_probe_that_is_cleared_after_every_batch_accumulates_all_of_them():
    rnn = model()
    with dynprobe.attach(rnn) as probe, torch.no_grad(), probe.accumulate("final_states") as seen:
        for _ in range(5):
            rnn(batch())
            probe.clear()
    assert seen.report()["final_states"].count == 20


def test_two_recorders_do_not_write_over_each_other(tmp_path):
    a, b = model(), model()
    p, q = dynprobe.attach(a), dynprobe.attach(b)
    with torch.no_grad():
        first, second = p.record_to(tmp_path / "run"), q.record_to(tmp_path / "run")
        a(batch())
        with pytest.raises(FileFormatError, match="Somebody else writes to .*a folder of its own"):
            b(batch())
        a(batch())
        first.close()
    with pytest.raises(FileFormatError, match="Somebody else writes"):
        second.close()
    assert len(dynprobe.load(tmp_path / "run")) == 8


def test_resuming_beside_a_recorder_that_is_open_is_refused_by_the_first_that_collides(tmp_path):
    a, b = model(), model()
    p, q = dynprobe.attach(a), dynprobe.attach(b)
    with torch.no_grad():
        first = p.record_to(tmp_path / "run")
        a(batch())
        a(batch())
        second = q.record_to(tmp_path / "run", resume=True)
        b(batch())
        b(batch())
        with pytest.raises(FileFormatError, match="Somebody else writes"):
            a(batch())
        second.close()
    with pytest.raises(FileFormatError, match="Somebody else writes"):
        first.close()


def test_states_that_were_kept_otherwise_do_not_go_to_the_same_folder(tmp_path):
    rnn = model()
    with torch.no_grad():
        with dynprobe.attach(rnn) as probe, probe.record_to(tmp_path / "run"):
            rnn(batch())
        probe = dynprobe.attach(rnn, store=dynprobe.Store(every=2))
        recorder = probe.record_to(tmp_path / "run", resume=True)
        with pytest.raises(FileFormatError, match="holds states with store"):
            rnn(batch())
        with pytest.raises(FileFormatError, match="holds states with store"):
            recorder.close()
    assert len(dynprobe.load(tmp_path / "run")) == 4
