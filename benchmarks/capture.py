"""What recording costs: interleaved medians, one thread, as ratios to a plain forward pass.

    python benchmarks/capture.py

`attached`: a forward with a probe on it, h of the top layer asked for afterwards.
`everything`: forward and recovery of h and c of all layers.
`cell loop`: the same states from nn.LSTMCell called in Python, what one does without dynprobe.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from machine import save
from torch import nn

import dynprobe

SETTINGS = {
    "batch 64, T 200, hidden 256, 2 layers": (64, 200, 256),
    "batch 1, T 1000, hidden 32, 2 layers": (1, 1000, 32),
}
RUNS = 15


@torch.no_grad()
def cell_loop(lstm: nn.LSTM, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
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


def cases(lstm: nn.LSTM, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    def plain() -> None:
        with torch.no_grad():
            lstm(x)

    def attached() -> None:
        probe = dynprobe.attach(lstm)
        with torch.no_grad():
            lstm(x)
        probe._tracer.remove()  # detach() would recover everything

    def everything() -> None:
        with dynprobe.attach(lstm) as probe, torch.no_grad():
            lstm(x)
        for info in probe.layers:
            probe.recording(info.key)

    return {
        "plain forward": plain,
        "attached": attached,
        "everything": everything,
        "cell loop": lambda: cell_loop(lstm, x),
    }


def main() -> None:
    torch.set_num_threads(1)
    figures = {}
    for name, (batch, steps, hidden) in SETTINGS.items():
        lstm = nn.LSTM(hidden, hidden, 2, batch_first=True)
        x = torch.randn(batch, steps, hidden)
        with dynprobe.attach(lstm) as probe, torch.no_grad():
            lstm(x)
        for layer, (h, c) in enumerate(cell_loop(lstm, x)):
            expected = torch.cat([h, c], -1)
            got = probe.recording(f"lstm.l{layer}").states
            assert (got - expected).norm() <= 1e-5 * expected.norm()
        run = cases(lstm, x)
        times: dict[str, list[float]] = {case: [] for case in run}
        for _ in range(RUNS):
            for case, function in run.items():
                start = time.perf_counter()
                function()
                times[case].append(time.perf_counter() - start)
        medians = {case: statistics.median(t) for case, t in times.items()}
        figures[name] = {
            case: {"seconds": t, "ratio": t / medians["plain forward"]}
            for case, t in medians.items()
        }
        print(name)
        for case, figure in figures[name].items():
            print(f"  {case:14} {figure['seconds'] * 1e3:8.1f} ms  {figure['ratio']:6.2f} x")
    save("capture", figures)


if __name__ == "__main__":
    main()
