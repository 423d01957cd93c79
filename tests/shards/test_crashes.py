"""Recording survives what happens to processes and disks: killed at any moment, no room left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.errors import WriteError

#: For each line "folder start every" that comes in, a process of its own is forked, since starting
#: Python takes longer than recording. It records batches whose content follows from their number,
#: and says when each has returned.
RECORD = """
import os, sys, tempfile, torch, dynprobe
torch.set_num_threads(1)
gru = torch.nn.GRU(1, 8, batch_first=True)
with tempfile.TemporaryDirectory() as folder:  # what is imported late is imported now
    with dynprobe.attach(gru) as probe, probe.record_to(folder + "/run"):
        gru(torch.zeros(1, 2, 1))
for line in sys.stdin:
    folder, start, every = line.split()
    if child := os.fork():
        os.waitpid(child, 0)
        print("killed", flush=True)
        continue
    print(os.getpid(), flush=True)
    probe = dynprobe.attach(gru)
    recorder = probe.record_to(folder, every=int(every), resume=True)
    for number in range(int(start), int(start) + 100_000):
        with torch.no_grad():
            gru(torch.full((1 + number % 3, 20, 1), float(number)))
        print(number, flush=True)
"""


@pytest.fixture
def recorder():
    process = subprocess.Popen(
        [sys.executable, "-c", RECORD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.communicate(timeout=60)


def batch_numbers(rec):
    """Which batch each recorded sequence is of; every value of it must say so."""
    numbers = []
    for batch in rec.batches():
        values = batch.inputs.unique()
        assert len(values) == 1, "a batch holds values of several"
        assert len(batch) == 1 + int(values) % 3, "a batch has lost sequences"
        assert torch.isfinite(batch.states).all()
        numbers.append(int(values))
    return numbers


def record_and_kill(recorder, folder: Path, start: int, wait: float, every: int = 1) -> int:
    """Record until a random moment; the number of the last batch that had returned, or -1."""
    recorder.stdin.write(f"{folder} {start} {every}\n")
    recorder.stdin.flush()
    child = int(recorder.stdout.readline())
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    last = -1
    while (line := recorder.stdout.readline()) != "killed\n":
        last = int(line)
    return last


def test_killed_at_fifty_moments_it_loses_the_batch_in_flight_and_nothing_else(tmp_path, recorder):
    rng = random.Random(0)
    folder, start, expected = tmp_path / "run", 0, []
    for _ in range(50):
        last = record_and_kill(recorder, folder, start, rng.uniform(0.0, 0.3))
        done = range(start, last + 1) if last >= 0 else range(0)
        expected += done
        rec = None
        if (folder / "gru").exists() and any((folder / "gru").glob("shard-*.safetensors")):
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # nothing is damaged
                rec = dynprobe.load(folder)
        found = [] if rec is None else batch_numbers(rec)
        # what had returned is there, in order; of what had not, at most the batch in flight
        assert found[: len(expected)] == expected
        in_flight = found[len(expected) :]
        assert in_flight in ([], [expected[-1] + 1 if done else start])
        expected, start = found, (found[-1] + 1 if found else 0)
    assert len(expected) > 50  # most were killed while they recorded


def test_batches_of_an_unfinished_shard_are_lost_and_no_others(tmp_path, recorder):
    last = record_and_kill(recorder, tmp_path / "run", 0, 0.5, every=8)
    numbers = batch_numbers(dynprobe.load(tmp_path / "run"))
    assert numbers == list(range(len(numbers)))
    assert len(numbers) % 8 == 0
    assert last - 8 < len(numbers) <= last + 9


FULL = """
import resource, sys, torch, dynprobe
gru = torch.nn.GRU(1, 8, batch_first=True)
with dynprobe.attach(gru) as probe:
    recorder = probe.record_to(sys.argv[1])
    gru(torch.zeros(2, 20, 1))
    # no file may be longer, as if the disk were full
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
    try:
        gru(torch.ones(2, 2000, 1))
    except dynprobe.errors.WriteError as error:
        print(error, flush=True)
    if "room" in sys.argv:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    try:
        recorder.close()
    except dynprobe.errors.WriteError:
        print("still no room")
"""


@pytest.mark.parametrize("room", [False, True])
def test_a_disk_that_is_full_keeps_what_was_written_and_leaves_no_half_file(tmp_path, room):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "run"), *(["room"] if room else [])],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "shard-000001.safetensors could not be written" in done.stdout
    assert "The 2 sequences before it are on the disk" in done.stdout
    assert ("still no room" in done.stdout) is not room
    names = sorted(p.name for p in (tmp_path / "run" / "gru").iterdir())
    shards = ["shard-000000.safetensors", "shard-000001.safetensors"][: 1 + room]
    assert names == ["manifest.json", *shards]
    rec = dynprobe.load(tmp_path / "run")
    assert rec.damaged == ()
    assert rec.inputs.sum() == (4000 if room else 0)


@pytest.mark.requires("tmpfs")
def test_a_disk_that_is_really_full(small_disk):
    gru = nn.GRU(1, 8, batch_first=True)
    with dynprobe.attach(gru) as probe, torch.no_grad():
        recorder = probe.record_to(small_disk / "run")
        with pytest.raises(WriteError, match="No space left on device"):
            for number in range(1000):
                gru(torch.full((2, 500, 1), float(number)))
        with pytest.raises(WriteError):
            recorder.close()
    assert not list((small_disk / "run" / "gru").glob("*.part"))
    rec = dynprobe.load(small_disk / "run")
    assert rec.damaged == ()
    assert rec.inputs[:, 0, 0].tolist() == [float(n) for n in range(number) for _ in range(2)]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "run").write_text("a file")
    gru = nn.GRU(1, 2, batch_first=True)
    with dynprobe.attach(gru) as probe:
        recorder = probe.record_to(tmp_path / "run")
        with pytest.raises(WriteError, match="could not be written"):
            gru(torch.zeros(1, 2, 1))
        with pytest.raises(WriteError):
            recorder.close()


def test_what_ended_the_block_is_what_is_raised(tmp_path):
    gru = nn.GRU(1, 2, batch_first=True)
    with pytest.raises(KeyError, match="mine"):
        with dynprobe.attach(gru) as probe, probe.record_to(tmp_path / "run"):
            gru(torch.zeros(1, 2, 1))
            raise KeyError("mine")
    assert len(dynprobe.load(tmp_path / "run")) == 1
