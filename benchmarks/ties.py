"""Accuracy on phrases with ties, of networks that were trained without and with them.

python benchmarks/ties.py FOLDER

Our categorical task does not draw phrases in which two classes have most words; the reference's
counts them to the first of these classes, as ours does with ``ties="first"``.
FOLDER is that of `dynprobe reproduce`: networks of two, three and ten classes, trained on both
tasks (five seeds each, trained here if they are not there yet), classify 5,000 phrases of the one
with ties.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from machine import save

from dynprobe.study.reproduce.networks import networks
from dynprobe.study.reproduce.run import NETWORKS
from dynprobe.study.reproduce.settings import L2, LENGTH, TIED, full_settings
from dynprobe.tasks import categorical

PHRASES, SEED = 5000, 11
TRAINED_ON = {"categorical": "no ties", TIED: "ties"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = {(s.kind, s.n): s for s in full_settings() if (s.cell, s.l2) == ("gru", L2)}
    found = []
    for classes in (2, 3, 10):
        task = categorical(classes, LENGTH, ties="first")
        phrases = task.sample(PHRASES, seed=SEED)
        best = task.scores(phrases.tokens)[:, -1].topk(2, dim=1).values
        tied = best[:, 0] == best[:, 1]
        for kind, trained_on in TRAINED_ON.items():
            stack, log = networks(settings[kind, classes], options.folder / NETWORKS)
            with torch.no_grad():
                answers = stack(phrases.tokens.expand(len(stack), -1, -1)).argmax(2)
            right = (answers == phrases.labels).double()
            row = {
                "classes": classes,
                "trained on": trained_on,
                "steps": log.steps,
                "share of ties": float(tied.double().mean()),
                "accuracy": right.mean(1).tolist(),
                "without ties": right[:, ~tied].mean(1).tolist(),
                "of ties": right[:, tied].mean(1).tolist(),
            }
            found.append(row)
            means = {k: sum(v) / len(v) for k, v in row.items() if isinstance(v, list)}
            print(f"{classes} classes, trained on {trained_on}", row["share of ties"], means)
    save("ties", {"networks": found})


if __name__ == "__main__":
    main()
