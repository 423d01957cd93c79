"""Whether penalty or rate explain what the survey finds of memories: every network of its grid.

    dynprobe survey --data FOLDER --out SURVEY
    python benchmarks/survey_penalties.py SURVEY

The survey measures memories where the penalty is as strong as accuracy allows. Here they are
measured at every penalty and every rate of the grid, of seed 0, on three classes; a network that
SURVEY has not yet is trained (2,000 steps). The manifold of a push has as many dimensions as the
survey takes: the participation ratio of the memory, rounded.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import torch
from machine import save

from dynprobe.study.survey.measures import mechanism_measures, model_measures
from dynprobe.study.survey.networks import Network, train_networks
from dynprobe.study.survey.run import NETWORKS
from dynprobe.study.survey.settings import COUNTING, MODELS, full_settings
from dynprobe.study.survey.watched import material, watch

SHOWN = (
    "same answer in random order",
    "memory horizon at lag 8",
    "memory horizon at lag 35",
    "memory horizon at lag 50",
    "left of a push off the manifold",
    "left of a push along the manifold",
    "time constant 1",
    "time constant 2",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("survey", type=Path, help="Folder of a survey.")
    parser.add_argument("--models", default=",".join(MODELS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = full_settings()
    topic = next(t for t in settings.topics if t.grid and not t.text)
    given = material(COUNTING[topic.name](topic.n, topic.length))
    figures: list[dict[str, Any]] = []
    for model in options.models.split(","):
        grid = MODELS[model].counting
        for rate, l2 in product(grid.rates, grid.penalties):
            network = Network(topic, model, rate, l2, 0, settings.budget)
            (one,) = train_networks([network], given.task, options.survey / NETWORKS)
            watched = watch(one.model, given)
            found = {
                m: v for _, m, v in [*model_measures(watched, 0), *mechanism_measures(watched, 0)]
            }
            line = {"model": model, "rate": rate, "l2": l2, "accuracy": watched.accuracy}
            line |= {name: found.get(name) for name in SHOWN}
            print(line, flush=True)
            figures.append(line)
    save("survey_penalties", {"task": topic.label, "n": topic.n, "networks": figures})


if __name__ == "__main__":
    main()
