"""Jacobians of 256 states of 128 units in float64: closed forms beside automatic differentiation.

    python benchmarks/jacobians.py [--runs 15]

One thread, float32 models, interleaved medians. `autograd` is what is done for cells without a
closed form, at this size one backward pass for each unit; `loop` is that by hand; `write` fills a
result of that size with zeros: the least that any way takes.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections.abc import Callable

import torch
from machine import save
from torch import Tensor, nn

import dynprobe
from dynprobe.dynamics.maps import autograd_jacobian
from dynprobe.nn import UGRNNCell
from dynprobe.recurrences import Recurrence

STATES, UNITS = 256, 128
CELLS: dict[str, Callable[[], nn.Module]] = {
    "RNN": lambda: nn.RNN(UNITS, UNITS),
    "GRU": lambda: nn.GRU(UNITS, UNITS),
    "LSTM": lambda: nn.LSTM(UNITS, UNITS),
    "UGRNN": lambda: UGRNNCell(UNITS, UNITS),
}


def loop(map_: Recurrence, s: Tensor, x: Tensor) -> Tensor:
    s = s.clone().requires_grad_(True)
    out = map_.step(s, x)
    rows = [
        torch.autograd.grad(out[:, i].sum(), s, retain_graph=True)[0] for i in range(out.shape[1])
    ]
    return torch.stack(rows, dim=1)


def ways(map_: Recurrence) -> dict[str, Callable[[], Tensor]]:
    generator = torch.Generator().manual_seed(0)
    s = 2 * torch.rand(STATES, map_.state_dim, generator=generator, dtype=torch.float64) - 1
    x = torch.randn(STATES, map_.input_dim, generator=generator, dtype=torch.float64)
    found: dict[str, Callable[[], Tensor]] = {
        "jacobian": lambda: map_.jacobian(s, x),
        "input_jacobian": lambda: map_.input_jacobian(s, x),
        "autograd": lambda: autograd_jacobian(lambda v: map_.step(v, x), s),
        "loop": lambda: loop(map_, s, x),
        "write": lambda: s.new_zeros(STATES, map_.state_dim, map_.state_dim),
    }
    worst = (found["jacobian"]() - found["autograd"]()).abs().max()
    assert worst <= 1e-12, f"the closed form is off by {worst:.1e}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="runs whose median is taken")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cases: dict[tuple[str, str], Callable[[], Tensor]] = {}
    for name, build in CELLS.items():
        map_ = dynprobe.attach(build()).recurrence()
        cases |= {(name, way): run for way, run in ways(map_).items()}
    times: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    order = random.Random(0)
    for _ in range(options.runs):
        for case in order.sample(list(cases), len(cases)):
            gc.collect()
            start = time.perf_counter()
            cases[case]()
            times[case].append(time.perf_counter() - start)
    figures: dict[str, dict[str, float]] = {name: {} for name in CELLS}
    for (name, way), taken in times.items():
        figures[name][way] = statistics.median(taken)
        print(f"{name:16} {way:16} {figures[name][way]:8.4f} s")
    save("jacobians", {**figures, "states": STATES, "units": UNITS, "runs": options.runs})


if __name__ == "__main__":
    main()
