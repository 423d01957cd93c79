"""A recurrent classifier on labelled text: accuracy beside bag of words, dimension beside N - 1.

python benchmarks/text.py PATH --model gru --seeds 3
"""

from __future__ import annotations

import argparse
import re
import time

import torch
from machine import save

from dynprobe.study.text_study import TextModel, run_text


def measure(path: str, cell: str, seed: int) -> dict[str, float]:
    start = time.perf_counter()
    report = run_text(path, model=TextModel(cell=cell), seed=seed)
    dimension = report["manifold_dimension"]
    direction = report["integration_direction"]
    predicted = report.details["dimension predicted by word counts"]
    return {
        "seed": seed,
        "seconds": time.perf_counter() - start,
        "accuracy": float(report.details["test accuracy"]),
        "bag_of_words": float(report.details["bag of words, same split"].split()[0]),
        "participation_ratio": dimension.participation_ratio,
        "components_90": dimension.visited.components_90,
        "components_95": dimension.components_95,
        "final_participation_ratio": dimension.final.participation_ratio,
        "final_components_95": dimension.final.components_95,
        "predicted_components": int(predicted.split()[0]),
        "predicted_participation_ratio": float(re.findall(r"ratio ([\d.]+)", predicted)[0]),
        "angle_min": float(direction.readout.pair_angles.min()),
        "angle_max": float(direction.readout.pair_angles.max()),
        "angle_in_plane_min": float(direction.readout_in_plane.pair_angles.min()),
        "angle_in_plane_max": float(direction.readout_in_plane.pair_angles.max()),
        "simplex_angle": direction.readout.simplex_angle,
        "norm_in_span": float(direction.readout.norm_in_span.mean()),
        "integrating_modes": direction.n_integrating,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--model", default="gru", choices=["gru", "lstm"])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in range(options.seeds):
        rows.append(measure(options.path, options.model, seed))
        print({k: round(v, 4) for k, v in rows[-1].items()}, flush=True)
    name = options.path.rstrip("/").split("/")[-1].split(".")[0]
    save(f"text_{name}_{options.model}", {"seeds": rows})


if __name__ == "__main__":
    main()
