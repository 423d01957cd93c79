"""What each estimator says of one counting network: with transients, without, with noise, by L2.

python benchmarks/which_dimension.py --l2 5e-4 0 5e-3
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from machine import save
from torch import Tensor

import dynprobe
from dynprobe.dimension import (
    GRIDE,
    MLE,
    CorrelationDimension,
    LocalPCA,
    NeighborGraph,
    ParticipationRatio,
    TwoNN,
)
from dynprobe.nn import RNNClassifier
from dynprobe.study.evaluate import evaluate
from dynprobe.study.train import train
from dynprobe.tasks import categorical

ESTIMATORS = {
    "participation ratio": ParticipationRatio(),
    "TwoNN": TwoNN(),
    "MLE, k = 10": MLE(10),
    "MLE, k = 100": MLE(100),
    "correlation dimension": CorrelationDimension(),
    "local PCA, k = 50": LocalPCA(50, criterion="participation_ratio"),
    "GRIDE, 64 to 128": GRIDE(64, range_max=128),
}


def dimensions(points: Tensor) -> dict[str, float]:
    graph = NeighborGraph.of(points, 128)
    return {name: float(e.fit(graph).dimension_) for name, e in ESTIMATORS.items()}


def outside(points: Tensor, plane: Tensor) -> dict[str, float]:
    """Shares that the plane leaves out: of the variance, and of distances to 10 neighbours."""
    graph = NeighborGraph.of(points, 10)
    steps = graph.distinct[graph.indices] - graph.distinct[:, None]
    centred = points - points.mean(0)

    def left(x: Tensor) -> float:
        return float(1 - (x @ plane.T).square().sum() / x.square().sum())

    return {"of the variance": left(centred), "of squared distances": left(steps)}


def measure(l2: float, steps: int, seed: int) -> dict[str, Any]:
    task = categorical(n_classes=3, length=50)
    generator = torch.Generator().manual_seed(seed)
    words = len(task.vocabulary)
    model = RNNClassifier(words, 3, cell="gru", hidden_size=64, generator=generator)
    train(model, task, steps=steps, cooldown=min(300, steps // 2), l2=l2, seed=seed)
    model.eval()
    phrases = task.sample(600, seed=seed + 2_000_003)
    with dynprobe.attach(model, classes=task.class_names) as probe, torch.no_grad():
        model(phrases.tokens, phrases.lengths)
    visited = probe.analyze("manifold_dimension")["manifold_dimension"].visited
    states = probe.recording().sample(2000, seed=seed).double()
    plane = visited.components[:2]
    radius = (states - states.mean(0)).square().sum(1).mean().sqrt()
    noise = torch.randn(states.shape, generator=generator, dtype=torch.float64)
    clouds = {
        "visited states": states,
        "on PC 1-2": (states - visited.mean) @ plane.T,
        "with noise, 10 % of the radius": states + 0.1 * radius / states.shape[1] ** 0.5 * noise,
    }
    neutral = torch.zeros(len(states), words, dtype=torch.float64)
    neutral[:, task.vocabulary.index("neutral")] = 1
    relaxed = states
    with torch.no_grad():
        for t in range(1, 11):
            relaxed = probe.recurrence().step(relaxed, neutral)
            if t in (3, 10):
                clouds[f"after {t} neutral words"] = relaxed
    return {
        "l2": l2,
        "steps": steps,
        "seed": seed,
        "accuracy": evaluate(model, [task.sample(2000, seed=seed + 1_000_003)]),
        "participation_ratio": visited.participation_ratio,
        "interval": visited.participation_ratio_interval,
        "components_90": visited.components_90,
        "components_95": visited.components_95,
        "components_above_null": visited.components_above_null,
        "outside of PC 1-2": outside(states, plane),
        "dimensions": {name: dimensions(points) for name, points in clouds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--l2", type=float, nargs="+", default=[5e-4, 0.0, 5e-3])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for l2 in asked.l2:
        rows.append(measure(l2, asked.steps, asked.seed))
        print(rows[-1], flush=True)
        save("which_dimension", {"networks": rows})


if __name__ == "__main__":
    main()
