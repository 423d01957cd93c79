"""nn.LSTM, two layers: h and c of both after every step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import peers
import torch
from cases import PLAIN, Cases, agree
from torch import Tensor, nn

import dynprobe

SETTINGS = {
    "batch 64, T 200, hidden 256, 2 layers": (64, 200, 256),
    "batch 1, T 1000, hidden 32, 2 layers": (1, 1000, 32),
}


def settings() -> dict[str, Callable[[], Cases]]:
    return {name: partial(_cases, *sizes) for name, sizes in SETTINGS.items()}


@torch.no_grad()
def cell_loop(lstm: nn.LSTM, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The same states from nn.LSTMCell called in Python."""
    states = []
    for layer in range(lstm.num_layers):
        cell = nn.LSTMCell(x.shape[-1], lstm.hidden_size, device="meta")
        for name, _ in list(cell.named_parameters()):
            setattr(cell, name, getattr(lstm, f"{name}_l{layer}"))
        h = c = x.new_zeros(len(x), lstm.hidden_size)
        hs, cs = [], []
        for step in x.unbind(1):
            h, c = cell(step, (h, c))
            hs.append(h)
            cs.append(c)
        x = torch.stack(hs, 1)
        states.append((x, torch.stack(cs, 1)))
    return states


def _cases(batch: int, steps: int, hidden: int) -> Cases:
    torch.manual_seed(0)
    lstm = nn.LSTM(hidden, hidden, 2, batch_first=True)
    x = torch.randn(batch, steps, hidden)

    def plain() -> None:
        with torch.no_grad():
            lstm(x)

    def attached() -> None:
        probe = dynprobe.attach(lstm)
        with torch.no_grad():
            lstm(x)
        probe._tracer.remove()  # detach() would recover everything

    def everything() -> list[Tensor]:
        with dynprobe.attach(lstm) as probe, torch.no_grad():
            lstm(x)
        return [probe.recording(info.key).states for info in probe.layers]

    for got, parts in zip(everything(), cell_loop(lstm, x), strict=True):
        agree(got, torch.cat(parts, -1))
    return {
        PLAIN: plain,
        "attached": attached,
        "everything": everything,
        "cell loop": lambda: cell_loop(lstm, x),
        **peers.lstm(lstm, x),
    }
