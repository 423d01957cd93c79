"""The checks for plugin authors, over everything that is built in."""

from __future__ import annotations

import hf_models
import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.analyzers.registry import BUILT_IN
from dynprobe.nn import UGRNN, LeakyRNN, ResetFirstGRU
from dynprobe.recurrences.registry import BUILT_IN as RECURRENCES
from dynprobe.recurrences.registry import qualified
from dynprobe.testing import analyzer_checks, check_recurrence, gated_linear, recurrence_checks

MODULES = [
    nn.RNN(3, 5),
    nn.RNN(3, 5, nonlinearity="relu"),
    nn.GRU(3, 5, num_layers=2, bidirectional=True),
    nn.LSTM(3, 5, num_layers=2, proj_size=2, batch_first=True),
    nn.LSTM(3, 4, dtype=torch.float64),
    nn.RNNCell(3, 5),
    nn.GRUCell(3, 5, bias=False),
    nn.LSTMCell(3, 5),
    UGRNN(3, 5).cell,
    ResetFirstGRU(3, 5).cell,
    LeakyRNN(3, 5).cell,
]


@pytest.mark.parametrize(
    ("name", "check"),
    [(name, check) for name in BUILT_IN for check in analyzer_checks(BUILT_IN[name].load())],
)
def test_analyzer(name, check):
    check()


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(
    ("cls", "check"),
    [(type(module).__name__, check) for module in MODULES for check in recurrence_checks(module)],
)
def test_recurrence(cls, check):
    check()


def test_no_module_of_torch_is_left_out():
    assert {qualified(type(module)) for module in MODULES} >= RECURRENCES


@pytest.mark.parametrize("cls", [nn.RNN, nn.GRU, nn.LSTM])
def test_stack(cls):
    module = cls(3, 4, num_layers=3, batch_first=True)
    with dynprobe.attach(module) as probe:
        for check in recurrence_checks(probe.recurrence("all")):
            check()


@pytest.mark.parametrize("check", recurrence_checks(gated_linear()))
def test_selective(check):
    check()


#: Why a family does not pass a check.
KNOWN = {
    "recurrent_gemma": {"input_jacobian": "its last input, a flag of 0 or 1, starts a sequence"},
}


@pytest.mark.parametrize("family", hf_models.FAMILIES, ids=str)
def test_mixer(family):
    try:
        model = family.build()
    except ImportError as error:
        pytest.skip(str(error))
    ids = torch.randint(3, hf_models.VOCABULARY, (family.batch, 8))
    extra = {"position_ids": torch.arange(8)[None]} if family.position_ids else {}
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model(ids, use_cache=False, **extra)
    key = probe.layers[0].key
    check_recurrence(
        probe.recurrence(key),
        recording=probe.recording(key),
        expected_failures=KNOWN.get(family.model),
    )
