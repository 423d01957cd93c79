"""Pairs of conjugate linear systems: the distance found, which is zero in truth, and the time.

    python benchmarks/similarity.py [--turns 3] [--peer FOLDER]

FOLDER is where the package dsa-metric was installed (`pip install --target FOLDER dsa-metric`), or
empty where it is importable as it is; without the option, or without the package, only ours runs.
The peer gets the matrices in float32, as it takes them from its own fits, its default number of
iterations and five times as many; all are timed in turns, after one run that does not count.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from importlib import metadata
from statistics import median
from typing import Any

import torch
from machine import save
from torch import Tensor

from dynprobe.similarity import conjugacy_distance

SIZE = 50
PEER = "dsa-metric"
#: distance, angle, and whether the inputs were changed
Found = tuple[float, float, bool]


def drawn(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, n, generator=generator, dtype=torch.float64)


def pairs(n: int) -> dict[str, tuple[Tensor, Tensor]]:
    rotation, _ = torch.linalg.qr(drawn(n, 0))
    reflection = rotation.clone()
    reflection[:, 0] *= -1
    if torch.linalg.det(rotation) < 0:
        rotation, reflection = reflection, rotation
    random = drawn(n, 1) / n**0.5
    turning, _ = torch.linalg.qr(drawn(n, 2))
    twice = torch.block_diag(*[drawn(n // 2, 3) / n**0.5] * 2)
    systems = {"not normal": random, "orthogonal": turning, "two equal halves": twice}
    return {
        f"{name}, {how}": (a, c @ a @ c.T)
        for name, a in systems.items()
        for how, c in (("rotated", rotation), ("reflected", reflection))
    }


def ours(a: Tensor, b: Tensor) -> Found:
    x, y = a.clone(), b.clone()
    found = conjugacy_distance(x, y)
    return found.distance, found.angle, not (torch.equal(x, a) and torch.equal(y, b))


def peer(iterations: int) -> Callable[[Tensor, Tensor], Found]:
    from DSA.simdist import SimilarityTransformDist

    def run(a: Tensor, b: Tensor) -> Found:
        x, y = a.float(), b.float()
        before = x.clone(), y.clone()
        solver = SimilarityTransformDist(iters=iterations, score_method="angular")
        angle = float(solver.fit_score(x, y))
        c = solver.C_star.double()
        changed = not (torch.equal(x, before[0]) and torch.equal(y, before[1]))
        return float((a - c @ b @ c.T).norm()), angle, changed

    return run


def ways(folder: str | None) -> tuple[dict[str, Callable[[Tensor, Tensor], Found]], str | None]:
    found: dict[str, Callable[[Tensor, Tensor], Found]] = {"dynprobe": ours}
    if folder is None:
        print("the peer is left out: give --peer")
        return found, None
    if folder:
        sys.path.append(folder)  # last: torch stays the one installed here
    try:
        found[f"{PEER}, its default 200 iterations"] = peer(200)
        found[f"{PEER}, 1,000 iterations"] = peer(1000)
    except ImportError as error:
        print(f"the peer is left out: {error}")
        return found, None
    return found, metadata.version(PEER)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3, help="runs of each, interleaved")
    parser.add_argument("--peer", metavar="FOLDER", help="folder with dsa-metric, or ''")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs, version = ways(options.peer)
    figures: dict[str, Any] = {"size": SIZE, "turns": options.turns, PEER: version, "pairs": {}}
    for run in runs.values():
        run(drawn(4, 4), drawn(4, 5))
    for name, (a, b) in pairs(SIZE).items():
        seconds: dict[str, list[float]] = {way: [] for way in runs}
        results: dict[str, Found] = {}
        for _ in range(options.turns):
            for way, run in runs.items():
                start = time.perf_counter()
                results[way] = run(a, b)
                seconds[way].append(time.perf_counter() - start)
        figures["pairs"][name] = {
            way: {
                "distance": distance,
                "angle": angle,
                "inputs changed": changed,
                "seconds": median(seconds[way]),
                "slowest": max(seconds[way]),
            }
            for way, (distance, angle, changed) in results.items()
        }
        for way, row in figures["pairs"][name].items():
            print(f"{name}; {way}: distance {row['distance']:.2e}, {row['seconds']:.3f} s", row)
    save("similarity", figures)


if __name__ == "__main__":
    main()
