"""Six estimators of dimension of 10,000 points: one graph for all, and each as a peer runs it.

    python benchmarks/dimension.py [--turns 3]

128 features, true dimension 8: a Gaussian of 8 dimensions turned into 128. scikit-dimension and
torchid are compared where they can be imported (`pip install scikit-dimension`; torchid needs
Python 3.13 and faiss). All at scikit-dimension's default settings, one thread, timed in turns.
`growth` is how much the most memory that a process of its own held grew over its imports and the
points.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from machine import save

from dynprobe.dimension import MADA, MLE, MOM, TLE, CorrelationDimension, NeighborGraph, TwoNN

POINTS, WIDTH, DIMENSION = 10_000, 128, 8
OURS = {
    "TwoNN": TwoNN,
    "MLE": MLE,
    "MOM": MOM,
    "MADA": MADA,
    "TLE": TLE,
    "CorrInt": CorrelationDimension,
}
#: package installed, module imported
PEERS = {"scikit-dimension": "skdim.id", "torchid": "torchid"}
Runs = dict[str, Callable[[], float]]


def cloud() -> np.ndarray:
    rng = np.random.default_rng(0)
    turned, _ = np.linalg.qr(rng.standard_normal((WIDTH, DIMENSION)))
    return rng.standard_normal((POINTS, DIMENSION)) @ turned.T


def ours(x: np.ndarray) -> Runs:
    """The graph is found by the first, in its time; the others are given it."""
    found: dict[str, NeighborGraph] = {}

    def graph() -> float:
        found["graph"] = NeighborGraph.of(x, 100)
        return float("nan")

    return {"graph": graph} | {
        name: lambda made=made: made().fit(found["graph"]).dimension_ for name, made in OURS.items()
    }


def theirs(module: str, x: np.ndarray) -> Runs:
    package = import_module(module)
    return {
        name: lambda name=name: float(np.ravel(getattr(package, name)().fit(x).dimension_)[0])
        for name in OURS
    }


def timed(runs: Runs) -> dict[str, tuple[float, float]]:
    """(seconds, value) of each."""
    rows = {}
    for name, run in runs.items():
        start = time.perf_counter()
        value = run()
        rows[name] = (time.perf_counter() - start, value)
    return rows


def peak() -> int:
    """Bytes, the most that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts what the parent had held in ru_maxrss, too
        lines = status.read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def growth(way: str) -> int:
    """Bytes, in a process of its own."""
    out = subprocess.run(
        [sys.executable, __file__, "--memory-of", way], check=True, capture_output=True, text=True
    )
    return int(json.loads(out.stdout.splitlines()[-1]))


def available() -> tuple[dict[str, str], dict[str, str]]:
    """Modules of the peers that are here, and version or absence of all."""
    here, said = {}, {}
    for name, module in PEERS.items():
        try:
            import_module(module)
        except ImportError:
            said[name] = "not installed"
            print(f"{name} is left out: not installed")
        else:
            here[name], said[name] = module, metadata.version(name)
    return here, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3, help="runs of each, interleaved")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = cloud()
    if options.memory_of:
        way = options.memory_of
        runs = ours(x) if way == "dynprobe" else theirs(PEERS[way], x)
        timed(ours(x[:300]) if way == "dynprobe" else theirs(PEERS[way], x[:300]))  # loaded
        before = peak()
        timed(runs)
        print(json.dumps(peak() - before))
        return
    here, said = available()
    ways = {"dynprobe": ours(x)} | {name: theirs(module, x) for name, module in here.items()}
    for runs in [ours(x[:300])] + [theirs(module, x[:300]) for module in here.values()]:
        timed(runs)  # compiled and loaded, not counted
    turns: dict[str, list[dict[str, tuple[float, float]]]] = {way: [] for way in ways}
    for _ in range(options.turns):
        for way, runs in ways.items():
            turns[way].append(timed(runs))
    figures: dict[str, Any] = {
        "points": POINTS,
        "width": WIDTH,
        "true dimension": DIMENSION,
        "turns": options.turns,
        "peers": said,
    }
    for way, rows in turns.items():
        names = list(rows[0])
        seconds = {n: median(row[n][0] for row in rows) for n in names}
        figures[way] = {
            "seconds": seconds | {"all": median(sum(r[n][0] for n in names) for r in rows)},
            "values": {n: rows[0][n][1] for n in OURS},
            "growth": growth(way),
        }
        print(way, json.dumps(figures[way], indent=1))
    save("dimension", figures)


if __name__ == "__main__":
    main()
