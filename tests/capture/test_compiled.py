"""torch.compile: what is recorded is the eager model's, bit for bit, and one warning says so."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.errors import NothingRecordedError, RecordingWarning


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.rnn(torch.tanh(x))[0][:, -1])


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch")
        yield
    torch._dynamo.reset()


def compile_(module):
    return torch.compile(module, backend="aot_eager")


def in_place(module):
    module.compile(backend="aot_eager")
    return module


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "compiled before"])
@pytest.mark.parametrize("how", [compile_, in_place], ids=["wrapper", "in place"])
def test_recorded_calls_are_eager(how, warm):
    model = Classifier().eval()
    x = torch.randn(2, 5, 3)
    with torch.no_grad():
        plain = model(x)
        with dynprobe.attach(model) as reference:
            model(x)
        compiled = how(model)
        if warm:
            compiled(x)
        with pytest.warns(RecordingWarning, match="run eagerly") as caught:
            with dynprobe.attach(compiled) as probe:
                first, second = compiled(x), compiled(x)
        after = compiled(x)
    assert len([w for w in caught if w.category is RecordingWarning]) == 1
    assert [info.key for info in probe.layers] == ["rnn"]
    assert torch.equal(first, plain)
    assert torch.equal(second, plain)
    torch.testing.assert_close(after, plain)
    assert torch.equal(probe.recording().states[:2], reference.recording().states)
    assert probe.readout().name == "out"


def test_a_compiled_part_of_a_model_is_found():
    model = Classifier().eval()
    x = torch.randn(2, 5, 3)
    with torch.no_grad():
        with dynprobe.attach(model) as reference:
            model(x)
        model.rnn = compile_(model.rnn)
        model(x)
        with pytest.warns(RecordingWarning, match="run eagerly"):
            with dynprobe.attach(model) as probe:
                model(x)
    assert [info.key for info in probe.layers] == ["rnn"]
    assert torch.equal(probe.recording().states, reference.recording().states)


def test_the_stance_is_taken_back_also_after_an_error():
    compiled = compile_(Classifier().eval())
    with pytest.warns(RecordingWarning), dynprobe.attach(compiled), pytest.raises(RuntimeError):
        compiled(torch.randn(2, 5, 7))
    assert torch._dynamo.eval_frame._stance.stance == "default"


def test_compiled_code_runs_again_after_detach():
    graphs = []

    def backend(graph, example):
        graphs.append(graph)

        def run(*args):
            graphs.append("ran")
            return graph(*args)

        return run

    compiled = torch.compile(nn.GRUCell(3, 4), backend=backend)
    x = torch.randn(2, 3)
    with torch.no_grad():
        compiled(x)
        ran = graphs.count("ran")
        assert ran > 0
        with pytest.warns(RecordingWarning), dynprobe.attach(compiled):
            compiled(x)
            assert graphs.count("ran") == ran
        compiled(x)
        assert graphs.count("ran") > ran


def test_a_wrapper_that_the_probe_does_not_know_of_is_no_silent_nothing():
    model = Classifier().eval()
    compiled = compile_(model)
    x = torch.randn(2, 5, 3)
    with torch.no_grad():
        compiled(x)
        with dynprobe.attach(model) as probe:
            compiled(x)
    with pytest.raises(NothingRecordedError, match="attach to that"):
        probe.recording()
