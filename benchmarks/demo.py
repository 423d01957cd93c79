"""What the demo has to show, over seeds: accuracy, dimension, readout angles, neutral deflection.

python benchmarks/demo.py --seeds 3
"""

from __future__ import annotations

import argparse
import time

import torch
from machine import save

from dynprobe.study.demo import run_demo


def measure(seed: int) -> dict[str, float]:
    start = time.perf_counter()
    report = run_demo(seed=seed)
    seconds = time.perf_counter() - start
    dimension = report["manifold_dimension"]
    direction = report["integration_direction"]
    pushes = direction.deflections
    neutral = pushes.tokens.index("neutral")
    evidence = [i for i in range(len(pushes.tokens)) if i != neutral]
    plane, full = pushes.visited.norm(dim=1), pushes.visited_length
    angles = direction.readout.pair_angles
    return {
        "seed": seed,
        "seconds": seconds,
        "accuracy": float(report.details["test accuracy"].split()[0]),
        "participation_ratio": dimension.participation_ratio,
        "components_95": dimension.components_95,
        "angle_min": float(angles.min()),
        "angle_max": float(angles.max()),
        "neutral_share_in_plane": float(plane[neutral] / plane[evidence].mean()),
        "neutral_share_full_space": float(full[neutral] / full[evidence].mean()),
        "fixed_points": len(report["fixed_points"].unique),
        "integrating_modes": direction.n_integrating,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    torch.set_num_threads(1)
    rows = []
    for seed in range(parser.parse_args().seeds):
        rows.append(measure(seed))
        print({k: round(v, 4) for k, v in rows[-1].items()}, flush=True)
    save("demo", {"seeds": rows})


if __name__ == "__main__":
    main()
