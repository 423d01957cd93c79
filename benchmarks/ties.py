"""Accuracy where phrases without a winner are kept, as the reference keeps them.

python benchmarks/ties.py FOLDER

Our categorical task does not draw phrases in which two classes have most words; the reference's
counts them to the first of these classes. FOLDER is that of `dynprobe reproduce`, whose networks of
two and ten classes (five seeds each, trained without ties) classify 5,000 phrases drawn as the
reference draws them: counts uniform among all, every class as often.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from machine import save
from safetensors.torch import load_file
from torch import Tensor

from dynprobe.study.reproduce.networks import untrained
from dynprobe.study.reproduce.run import NETWORKS
from dynprobe.study.reproduce.settings import LENGTH, Setting

PHRASES, SEED = 5000, 11


def counts(n: int, classes: int, length: int, generator: torch.Generator) -> Tensor:
    """Counts of evidence words, uniform among all, ``(n, classes)``: bars between stars."""
    places = torch.rand(n, length + classes, generator=generator).argsort(1)[:, :classes]
    bars = places.sort(1).values
    return torch.diff(bars, dim=1, prepend=torch.full((n, 1), -1)) - 1


def phrases(classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Words (n, length), label, and whether there is a tie; each class as often."""
    each = PHRASES // classes
    drawn = counts(40 * PHRASES, classes, LENGTH, generator)
    labels = (drawn == drawn.max(1, keepdim=True).values).int().argmax(1)
    kept = torch.cat([(labels == k).nonzero()[:each, 0] for k in range(classes)])
    assert len(kept) == each * classes
    drawn, labels = drawn[kept], labels[kept]
    neutral = LENGTH - drawn.sum(1, keepdim=True)
    every = torch.cat([drawn, neutral], 1)
    words = torch.stack([torch.arange(classes + 1).repeat_interleave(c) for c in every])
    order = torch.rand(words.shape, generator=generator).argsort(1)
    tied = (drawn == drawn.max(1, keepdim=True).values).sum(1) > 1
    return words.gather(1, order), labels, tied


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for classes in (2, 10):
        setting = Setting("categorical", classes)
        stack = untrained(setting)
        weights = load_file(options.folder / NETWORKS / f"{setting.key}.safetensors")
        stack.load_state_dict({name: weights[f"weight.{name}"] for name in stack.state_dict()})
        words, labels, tied = phrases(classes, torch.Generator().manual_seed(SEED))
        with torch.no_grad():
            answers = stack(words.expand(len(stack), -1, -1)).argmax(2)
        right = (answers == labels).double()
        row = {
            "classes": classes,
            "steps": len(weights["losses"]),
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
