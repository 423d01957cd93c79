"""What still changes in a network of the reproduction while it is trained for longer.

python benchmarks/training_length.py FOLDER

GRUs of 128 units by the recipe of the reproduction, one seed, looked at every 1,000 steps up to
10,000; the reference trained for 6,000 to 20,000. FOLDER keeps checkpoints: a run that was stopped
goes on.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from machine import save

from dynprobe.geometry.simplex import readout_geometry
from dynprobe.study.reproduce.networks import networks
from dynprobe.study.reproduce.settings import Setting
from dynprobe.study.settling import Settling

STEPS, EVERY = 10_000, 1_000
#: Task, classes, L2.
RUNS = (
    ("categorical", 2, 5e-4),
    ("categorical", 10, 5e-4),
    ("ordered", 5, 1e-2),
    ("ordered", 5, 1e-3),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    # beside the checkpoints, which are of the last look alone
    kept = options.folder / "looks.json"
    looks = json.loads(kept.read_text()) if kept.exists() else []
    for kind, n, l2 in RUNS:
        # every check is wanted, none ends it
        setting = Setting(kind, n, l2=l2, seeds=(0,), settling=Settling(min_steps=10**9))
        for steps in range(EVERY, STEPS + 1, EVERY):
            at = {"task": kind, "n": n, "l2": l2, "step": steps}
            if any(at.items() <= look.items() for look in looks):
                continue
            stack, log = networks(replace(setting, steps=steps), options.folder)
            check = log.checks[0][-1]
            assert check.step == steps, "the checkpoint is of more steps than were looked at"
            geometry = readout_geometry(stack.member(0).readout.weight.detach())
            measured = {
                "accuracy": check.accuracy,
                "participation ratio": check.participation_ratio,
                "readout angle, mean": float(geometry.pair_angles.mean()),
                "readout norm inside the span of the others": float(geometry.norm_in_span.mean()),
            }
            looks.append(at | measured)
            kept.write_text(json.dumps(looks))
            print(looks[-1], flush=True)
    save("training_length", {"looks": looks})


if __name__ == "__main__":
    main()
