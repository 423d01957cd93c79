"""Products with the Jacobian, formed or not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import dynprobe

MODULES = {
    "RNN": lambda: nn.RNN(3, 12, batch_first=True),
    "GRU": lambda: nn.GRU(3, 12, batch_first=True),
    "LSTM": lambda: nn.LSTM(3, 6, batch_first=True),
    "LSTM, projected": lambda: nn.LSTM(3, 8, proj_size=4, batch_first=True),
}


@pytest.mark.parametrize("k", [1, 2, 12])
@pytest.mark.parametrize("name", MODULES)
def test_it_is_the_jacobian_times_the_vectors(name, k):
    rnn = dynprobe.attach(MODULES[name]()).recurrence()
    assert rnn.state_dim == 12
    s, x = (0.5 * torch.randn(4, n, dtype=torch.float64) for n in (12, 3))
    v = torch.randn(4, k, 12, dtype=torch.float64)
    expected = torch.einsum("bij,bkj->bki", rnn.jacobian(s, x), v)
    with torch.no_grad():
        torch.testing.assert_close(rnn.push(s, x, v), expected)


def test_a_function_and_one_that_ignores_its_state():
    matrix = torch.randn(9, 9, dtype=torch.float64)
    linear = dynprobe.as_recurrence(lambda s, x: s @ matrix.T + x, state_dim=9, input_dim=9)
    s = x = torch.randn(2, 9, dtype=torch.float64)
    v = torch.randn(2, 2, 9, dtype=torch.float64)
    torch.testing.assert_close(linear.push(s, x, v), v @ matrix.T)
    deaf = dynprobe.as_recurrence(lambda s, x: x, state_dim=9, input_dim=9)
    assert not deaf.push(s, x, v).any()
