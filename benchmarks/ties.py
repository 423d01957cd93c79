"""Accuracy where phrases without a winner are kept, as the reference keeps them.

python benchmarks/ties.py FOLDER

Our categorical task does not draw phrases in which two classes have most words; the reference's
counts them to the first of these classes.
FOLDER is that of `dynprobe reproduce`: networks of two and ten classes (five seeds each, trained
without ties, here if they are not there yet) classify 5,000 phrases drawn as the reference draws
them: counts uniform among all, every class as often.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from machine import save
from torch import Tensor

from dynprobe.study.reproduce.networks import networks
from dynprobe.study.reproduce.run import NETWORKS
from dynprobe.study.reproduce.settings import LENGTH, Setting
from dynprobe.tasks.balance import first_of_each
from dynprobe.tasks.counts import shuffled_words, uniform_counts

PHRASES, SEED = 5000, 11


def phrases(classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Words (n, length), label, and whether there is a tie; each class as often."""
    drawn = uniform_counts(torch.full((40 * PHRASES,), LENGTH), classes + 1, generator)
    most = drawn[:, :classes] == drawn[:, :classes].max(1, keepdim=True).values
    labels = most.int().argmax(1)
    each = torch.full((classes,), PHRASES // classes)
    kept = first_of_each(labels, each)
    assert len(kept) == each.sum()
    return shuffled_words(drawn[kept], generator), labels[kept], most[kept].sum(1) > 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for classes in (2, 10):
        setting = Setting("categorical", classes)
        stack, log = networks(setting, options.folder / NETWORKS)
        words, labels, tied = phrases(classes, torch.Generator().manual_seed(SEED))
        with torch.no_grad():
            answers = stack(words.expand(len(stack), -1, -1)).argmax(2)
        right = (answers == labels).double()
        row = {
            "classes": classes,
            "steps": log.steps,
            "share of ties": float(tied.double().mean()),
            "accuracy": right.mean(1).tolist(),
            "without ties": right[:, ~tied].mean(1).tolist(),
            "of ties": right[:, tied].mean(1).tolist(),
        }
        found.append(row)
        means = {k: sum(v) / len(v) for k, v in row.items() if isinstance(v, list)}
        print(f"{classes} classes, {100 * float(row['share of ties']):.1f} % ties: "
              + ", ".join(f"{k} {v:.4f}" for k, v in means.items()))  # fmt: skip
    save("ties", {"networks": found})


if __name__ == "__main__":
    main()
