"""Correlation dimension of the states of ten classes, by the radii between which it is taken.

python benchmarks/correlation_radii.py FOLDER

FOLDER is that of `dynprobe reproduce`, whose networks of ten classes are read. The slope of log
C(r), C(r) the share of pairs nearer than r, between two radii that a given share of all pairs is
nearer than: states of one seed each, 3,000 of those visited.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from machine import save
from safetensors.torch import load_file

from dynprobe.study.reproduce.networks import untrained
from dynprobe.study.reproduce.rows import read_rows
from dynprobe.study.reproduce.run import NETWORKS, ROWS
from dynprobe.study.reproduce.settings import full_settings

#: Shares of all pairs at the nearer and at the farther radius.
SHARES = ((1e-4, 1e-3), (1e-3, 1e-2), (1e-2, 1e-1), (1e-1, 0.5))
POINTS, SEQUENCES, SEED = 3000, 600, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = ("categorical", 10, "gru")
    (setting,) = (s for s in full_settings() if (s.kind, s.n, s.cell) == wanted)
    stack = untrained(setting)
    weights = load_file(options.folder / NETWORKS / f"{setting.key}.safetensors")
    stack.load_state_dict({name: weights[f"weight.{name}"] for name in stack.state_dict()})
    own = [r for r in read_rows(options.folder / ROWS) if (r.task, r.n, r.model) == wanted]
    batch = setting.task().sample(SEQUENCES, seed=SEED)
    # the states of the reference: every second one, before the last
    states = stack.states(batch.tokens.expand(len(stack), -1, -1))[:, :, :-1:2]
    found: dict[str, list[float]] = {f"{a:g} to {b:g}": [] for a, b in SHARES}
    for visited in states.flatten(1, 2):
        some = torch.randperm(len(visited), generator=torch.Generator().manual_seed(SEED))[:POINTS]
        distances = torch.pdist(visited[some].double())
        ordered = distances[distances > 0].sort().values
        for a, b in SHARES:
            near, far = (float(ordered[int(share * len(ordered))]) for share in (a, b))
            found[f"{a:g} to {b:g}"].append(math.log(b / a) / math.log(far / near))
    for shares, slopes in found.items():
        print(f"pairs {shares}: {', '.join(f'{s:.2f}' for s in slopes)}")
    save(
        "correlation_radii", {"steps": max(r.steps for r in own), "slopes by share of pairs": found}
    )


if __name__ == "__main__":
    main()
