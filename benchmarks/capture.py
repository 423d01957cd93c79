"""What recording costs: interleaved medians, one thread, as ratios to a plain forward pass.

    python benchmarks/capture.py [--peers PATH] [--runs 15]

`attached` is a forward with a probe on it whose states nobody asks for, `everything` a forward and
all states of all layers. Beside them, what one does without dynprobe (a loop over nn.LSTMCell, a
transformers model stepped token by token through its cache), and nnsight and TransformerLens where
they are importable; PATH is a folder of packages to find them in.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from typing import Any

import capture_lstm
import capture_transformers
import peers
import torch
from cases import PLAIN, Cases
from machine import save


def measure(cases: Cases, runs: int) -> dict[str, Any]:
    """Seconds of each case, run in turns so that a busy moment of the machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name, case in cases.items() if callable(case)}
    order = random.Random(0)
    for _ in range(runs):
        # nobody always runs after the heaviest, nor pays for its garbage
        for name in order.sample(list(times), len(times)):
            taken, run = times[name], cases[name]
            assert callable(run)
            gc.collect()
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return {
        name: {"seconds": medians[name], "ratio": medians[name] / medians[PLAIN]}
        if name in medians
        else {"cannot": case}
        for name, case in cases.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", metavar="PATH", help="folder with nnsight and transformer_lens")
    parser.add_argument("--runs", type=int, default=15, help="runs whose median is taken")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = peers.find(options.peers)
    figures: dict[str, Any] = {}
    for name, cases in {**capture_lstm.settings(), **capture_transformers.settings()}.items():
        figures[name] = measure(cases(), options.runs)
        print(name)
        for case, figure in figures[name].items():
            if "cannot" in figure:
                print(f"  {case:44} cannot: {figure['cannot']}")
                continue
            print(f"  {case:44} {figure['seconds'] * 1e3:8.1f} ms  {figure['ratio']:6.2f} x")
    save("capture", {**figures, "runs": options.runs, "peers": found})


if __name__ == "__main__":
    main()
