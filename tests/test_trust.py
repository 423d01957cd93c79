"""What must hold over a long life: no leak, no crosstalk, no plugin that takes the rest down."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref

import pytest
import torch
from torch import nn

import dynprobe


class Classifier(nn.Module):
    def __init__(self, units=8):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.rnn = nn.GRU(4, units, batch_first=True)
        self.readout = nn.Linear(units, 3)

    def forward(self, tokens):
        return self.readout(self.rnn(self.embedding(tokens))[0][:, -1])


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_a_thousand_probes_leave_nothing_behind():
    model, tokens = Classifier(), torch.randint(0, 10, (4, 6))
    probes = []

    def cycle(way):
        probe = dynprobe.attach(model)
        with torch.no_grad():
            model(tokens)
        probe.recording()
        probes.append(weakref.ref(probe))
        if way == 0:
            probe.detach()
        elif way == 1:
            with probe:
                pass
        # else it is dropped as it is

    for i in range(50):  # caches and lazy imports fill
        cycle(i % 3)
    gc.collect()
    tracemalloc.start()
    try:
        before, objects = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
        for i in range(1000):
            cycle(i % 3)
        del probes[:-1]
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        more = len(gc.get_objects()) - objects
    finally:
        tracemalloc.stop()
    assert hooks_of(model) == 0
    assert probes[-1]() is None
    # one leaked hook, call or probe a cycle would be 1000 objects and some megabytes; whatever
    # counts the lines that are run takes some hundred kilobytes
    assert more < 100, more
    assert grown < 500_000, grown


def test_probes_in_many_threads_see_their_own_models_and_their_own_calls():
    shared = Classifier().eval()
    failures = []

    def work(k):
        try:
            own = Classifier(units=4 + k).eval()
            generator = torch.Generator().manual_seed(k)
            for round_ in range(10):
                tokens = torch.randint(0, 10, (k + 1, 3 + round_), generator=generator)
                with torch.no_grad(), dynprobe.attach(own) as probe:
                    own(tokens)
                    shared(tokens)  # watched by nobody, or by another thread's probe
                rec = probe.recording()
                with torch.no_grad():
                    expected, _ = own.rnn(own.embedding(tokens))
                torch.testing.assert_close(rec.states, expected, rtol=0, atol=0)
                assert rec.tokens.equal(tokens)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    with dynprobe.attach(shared) as probe:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    rec = probe.recording()
    assert len(rec) == 10 * sum(range(1, 9))  # every thread's calls, none twice
    assert hooks_of(shared) == 0
    # each sequence is one that its thread has run, whole
    with torch.no_grad():
        for i in range(0, len(rec), 37):
            n = int(rec.lengths[i])
            states, _ = shared.rnn(shared.embedding(rec.tokens[i : i + 1, :n]))
            torch.testing.assert_close(rec.states[i, :n], states[0])


@pytest.mark.parametrize("returned", ["None", "3", "{}", "dict", "Result", "torch.zeros(2)"])
def test_an_analyzer_that_returns_nonsense_is_a_failure_beside_the_others(returned):
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Result:
        number: float

    class Nonsense(dynprobe.Analyzer):
        name = "nonsense"
        requires = frozenset()

        def analyze(self, ctx):
            return eval(returned, {"torch": torch, "Result": Result})

    rec = dynprobe.Recording.from_arrays(torch.randn(5, 6, 3))
    report = dynprobe.analyze(rec, [Nonsense, "manifold_dimension"])
    assert report["manifold_dimension"].participation_ratio > 0
    assert "must return an instance of a frozen dataclass" in str(
        report.failures["nonsense", "states"].error
    )


HANGING = """
import signal, sys, time
import dynprobe, torch

# a shell's background job, which the tests may be, does not hear it
signal.signal(signal.SIGINT, signal.default_int_handler)

class Hangs(dynprobe.Analyzer):
    name = "hangs"
    requires = frozenset()

    def analyze(self, ctx):
        print("waiting", flush=True)
        time.sleep(600)

rec = dynprobe.Recording.from_arrays(torch.randn(5, 6, 3))
report = dynprobe.analyze(rec, ["manifold_dimension", Hangs, "dimension_scale"])
print("interrupted", report.interrupted, flush=True)
print("kept", report["manifold_dimension"].participation_ratio > 0, flush=True)
"""


def test_a_plugin_that_hangs_can_be_interrupted_and_what_was_done_is_kept():
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "waiting\n", process.stderr.read()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out.splitlines() == ["interrupted True", "kept True"]
