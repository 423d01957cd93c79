"""What two numbers of the reproduction owe to how they are taken.

python benchmarks/measure_choices.py FOLDER

How far a word moves the state, three classes: the mean step of the phrases with the word;
F(s, word) - s averaged over all visited states s; and over those of which none is within 0.5 of an
earlier one, which is how the reference chooses them. The maximum likelihood estimate of dimension,
ten classes, ten neighbours: harmonic and arithmetic mean over 5,000 visited states, and over all
that are not within 0.025 of an earlier one. FOLDER is that of `dynprobe reproduce`: five networks
each, trained here if they are not there yet.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from machine import save
from torch import Tensor

from dynprobe.dimension import MLE
from dynprobe.study.reproduce.measures import NEIGHBOURS, UNIQUE
from dynprobe.study.reproduce.networks import networks
from dynprobe.study.reproduce.pushes import APART, Pushes, deflections, mean_steps
from dynprobe.study.reproduce.run import NETWORKS
from dynprobe.study.reproduce.settings import L2, Setting, full_settings
from dynprobe.study.reproduce.states import Watched, watch
from dynprobe.study.reproduce.thinned import thinned


def moved(watched: Watched) -> dict[str, float]:
    """In the plane of the states, mean of three words."""
    rec, plane = watched.probe.recording(), watched.components[:2]
    recurrence = watched.probe.recurrence()

    def size(found: Pushes) -> float:
        return float(found.inside.norm(dim=1)[:3].mean())

    return {
        "steps of the phrases": size(mean_steps(rec, plane)),
        "all visited states": size(deflections(recurrence, rec, watched.visited, plane, apart=-1)),
        f"states {APART} apart": size(deflections(recurrence, rec, watched.visited, plane)),
    }


def estimated(watched: Watched, seed: int) -> dict[str, float]:
    """By number of points and kind of mean."""
    shuffled = torch.randperm(len(watched.visited), generator=torch.Generator().manual_seed(seed))
    unique = thinned(watched.visited, UNIQUE)
    clouds: dict[str, Tensor] = {
        f"{NEIGHBOURS} states": watched.visited[shuffled[:NEIGHBOURS]],
        f"states {UNIQUE} apart": unique,
    }
    return {"number of unique states": float(len(unique))} | {
        f"{average}, {name}": float(MLE(10, average=average).fit(points).dimension_)
        for name, points in clouds.items()
        for average in ("harmonic", "arithmetic")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    given = {
        s.n: s for s in full_settings() if (s.kind, s.cell, s.l2) == ("categorical", "gru", L2)
    }

    def members(setting: Setting) -> list[tuple[int, Watched]]:
        stack, _ = networks(setting, options.folder / NETWORKS)
        return [
            (seed, watch(stack.member(i), setting.task(), seed=seed))
            for i, seed in enumerate(setting.seeds)
        ]

    found = {
        "deflection, 3 classes": [moved(watched) for _, watched in members(given[3])],
        "maximum likelihood, k = 10, 10 classes": [
            estimated(watched, seed) for seed, watched in members(given[10])
        ],
    }
    for title, rows in found.items():
        print(title)
        for name in rows[0]:
            values = [row[name] for row in rows]
            mean = sum(values) / len(values)
            print(f"  {name}: {mean:.3f} ({min(values):.3f} to {max(values):.3f})")
    save("measure_choices", found)


if __name__ == "__main__":
    main()
