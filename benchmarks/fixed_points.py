"""Fixed points of flip-flop networks and ring attractors, beside fixed-point-finder.

    python benchmarks/fixed_points.py --incumbent PATH    # a checkout of fixed-point-finder
    python benchmarks/fixed_points.py --networks FOLDER   # where trained networks are kept

One thread, 1,024 noisy seeds, the solvers taking turns. A point is false when it is further than
1e-3 of the state scale from every point of the reference set: the outputs of all solvers (ours,
the incumbent, two plain float64 oracles from two noise levels), polished by undamped Newton steps.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from flip_flop import NETWORKS, states, trained
from machine import save
from torch import Tensor, nn

import dynprobe
from dynprobe.testing import planted_network, ring_attractor, ring_states

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "dynamics"))
from oracles import levenberg_marquardt, newton, polished

SEEDS = 1024
NOISE = 0.5
RING_NOISE = 0.02


def draw(visited: Tensor, noise: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(visited), generator=generator)[:SEEDS]
    return visited[rows] + noise * torch.randn(SEEDS, visited.shape[1], generator=generator)


def incumbent(path: str | None) -> type | None:
    if path is None:
        print("fixed-point-finder left out: give the path to a checkout with --incumbent")
        return None
    sys.path.insert(0, path)
    try:
        from FixedPointFinderTorch import FixedPointFinderTorch
    except Exception as error:
        print(f"fixed-point-finder left out: {error}")
        return None
    return FixedPointFinderTorch


def run_incumbent(finder: type, layer: nn.RNNBase, seeds: Tensor) -> tuple[float, Any]:
    zeros = torch.zeros(1, layer.input_size).numpy()
    with contextlib.redirect_stdout(io.StringIO()):
        solver = finder(layer, max_iters=5000, verbose=False, super_verbose=False)
        start = time.perf_counter()
        # a copy: it moves the states it is given in place
        found, _ = solver.find_fixed_points(seeds.float().clone().numpy(), zeros)
        return time.perf_counter() - start, found


def run_ours(layer: nn.RNNBase, seeds: Tensor) -> tuple[float, dynprobe.FixedPoints]:
    recurrence = dynprobe.attach(layer).recurrence()
    start = time.perf_counter()
    found = dynprobe.find_fixed_points(recurrence, seeds)
    return time.perf_counter() - start, found


def turns(
    layer: nn.RNNBase, seeds: Tensor, finder: type | None, runs: int
) -> tuple[dict[str, Any], dynprobe.FixedPoints, Any]:
    ours, theirs, other = [], [], None
    run_ours(layer, seeds[:40])  # warms up
    for turn in range(runs + 1):
        took, found = run_ours(layer, seeds)
        ours.append(took)
        if finder is not None and turn < runs:
            took, other = run_incumbent(finder, _copy(layer), seeds)
            theirs.append(took)
    figures: dict[str, Any] = {"seconds": statistics.median(ours)}
    if theirs:
        figures["incumbent seconds"] = statistics.median(theirs)
        figures["times faster"] = figures["incumbent seconds"] / figures["seconds"]
    return figures, found, other


def _copy(layer: nn.RNNBase) -> nn.RNNBase:
    """A float32 copy for a tool that changes what it is given."""
    copy = type(layer)(layer.input_size, layer.hidden_size, batch_first=True)
    copy.load_state_dict(layer.state_dict())
    return copy


def flip_flop(name: str, folder: Path, finder: type | None, runs: int) -> dict[str, Any]:
    layer, right = trained(name, folder)
    visited = states(layer)
    seeds = draw(visited, NOISE)
    figures, found, other = turns(layer, seeds, finder, runs)
    recurrence = dynprobe.attach(layer).recurrence()
    zero = torch.zeros(1, layer.input_size, dtype=torch.float64)

    def step(s: Tensor) -> Tensor:
        return recurrence.step(s, zero.expand(len(s), -1))

    def jacobian(s: Tensor) -> Tensor:
        return recurrence.jacobian(s, zero.expand(len(s), -1))

    unique = found.unique()
    outputs = [unique.states]
    if other is not None:
        outputs.append(torch.as_tensor(other.xstar).double())
    for noise in (NOISE, 0.1):
        start = draw(visited, noise).double()
        outputs += [levenberg_marquardt(step, jacobian, start), newton(step, jacobian, start)]
    reference = polished(step, jacobian, torch.cat(outputs), found.scale)
    far = 1e-3 * found.scale
    verdict = found.completeness[0]
    figures |= {
        "right": right,
        "reference": len(reference),
        "found": _covered(reference, unique.states, far),
        "unique": len(unique),
        "false": _strangers(unique.states, reference, far),
        "largest speed": float(unique.speed.max()),
        "index sum": verdict.index_sum,
        "rounds": verdict.rounds,
        "slow": found.count(dynprobe.Status.SLOW),
        "unconverged": found.count(dynprobe.Status.UNCONVERGED),
        "by each": [_covered(reference, x, far) for x in outputs],
    }
    if other is not None:
        theirs = torch.as_tensor(other.xstar).double()
        figures["incumbent"] = {
            "reported": len(theirs),
            "found": _covered(reference, theirs, far),
            "false": _strangers(theirs, reference, far),
            "largest speed": float(other.qstar.max()),
        }
    return figures


def _covered(reference: Tensor, points: Tensor, far: float) -> int:
    """How many of the reference set are among the points."""
    return int((_nearest(reference, points) <= far).sum())


def _strangers(points: Tensor, reference: Tensor, far: float) -> int:
    return int((_nearest(points, reference) > far).sum())


def _nearest(points: Tensor, others: Tensor) -> Tensor:
    if len(others) == 0:
        return torch.full((len(points),), torch.inf)
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(points, others, compute_mode=mode).amin(1)


def ring(noise: float, finder: type | None, runs: int) -> dict[str, Any]:
    layer, radius = ring_attractor(128, noise=noise)
    generator = torch.Generator().manual_seed(0)
    phases = 2 * math.pi * torch.rand(SEEDS, generator=generator, dtype=torch.float64)
    seeds = ring_states(128, radius, phases)
    seeds += RING_NOISE * torch.randn(seeds.shape, generator=generator, dtype=torch.float64)
    figures, found, other = turns(layer, seeds, finder, runs)
    rows = found[:SEEDS]
    unique = found.unique()
    figures |= {
        "fixed": rows.count(dynprobe.Status.FIXED),
        "slow": rows.count(dynprobe.Status.SLOW),
        "isolated": int(rows.isolated.sum()),
        "unique": len(unique),
        "unique isolated": int(unique.isolated.sum()),
        "largest speed of the fixed": float(found.speed[found.converged].max()),
        "median slide, rad": _slide(seeds, rows.states),
        "verdict": str(found.completeness[0].verdict),
    }
    if other is not None:
        theirs = torch.as_tensor(other.xstar).double()
        initial = torch.as_tensor(other.x_init).double()
        figures["incumbent"] = {
            "reported": len(theirs),
            "median slide, rad": _slide(initial, theirs),
            "speed <= 1e-12": int((other.qstar <= 1e-12).sum()),
        }
    return figures


def _slide(before: Tensor, after: Tensor) -> float:
    turned = _phase(after) - _phase(before)
    return float(torch.atan2(turned.sin(), turned.cos()).abs().median())


def _phase(h: Tensor) -> Tensor:
    angle = 2 * math.pi * torch.arange(h.shape[1], dtype=h.dtype) / h.shape[1]
    return torch.atan2((h * angle.sin()).sum(1), (h * angle.cos()).sum(1))


def planted() -> dict[str, Any]:
    """2,000 units with 5 known fixed points, in a process of its own for its memory."""
    layer, points = planted_network(2000)
    generator = torch.Generator().manual_seed(1)
    seeds = points[torch.arange(50) % 5]
    seeds = seeds + 0.3 * torch.randn(seeds.shape, generator=generator, dtype=torch.float64)
    took, found = run_ours(layer, seeds)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 2**20
    unique = found.unique()
    far = 1e-6 * found.scale
    return {
        "seconds": took,
        "peak GiB": peak,
        "found": _covered(points, unique.states, far),
        "largest speed": float(unique.speed.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--incumbent", metavar="PATH", help="checkout of fixed-point-finder")
    parser.add_argument("--networks", metavar="FOLDER", type=Path, default=Path("build/networks"))
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"planted 2000": planted()}
    print(figures)
    finder = incumbent(arguments.incumbent)
    for name in NETWORKS:
        figures[name] = flip_flop(name, arguments.networks, finder, arguments.runs)
        print(name, figures[name])
    for name, noise in (("ring", 0.0), ("noisy ring", 1e-3)):
        figures[name] = ring(noise, finder, arguments.runs)
        print(name, figures[name])
    save("fixed_points", figures)


if __name__ == "__main__":
    main()
