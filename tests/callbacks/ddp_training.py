"""Run by two processes: the same training twice, the second time tracked."""

import os
import sys

import torch
from test_trainer import FIXED, small, trainer_of

from dynprobe.callbacks import TrainerCallback

torch.set_num_threads(1)


def trained(track):
    trainer = trainer_of(small(), sys.argv[1], ddp_backend="gloo", max_steps=4)
    callback = TrainerCallback(trainer, FIXED, every=2)
    if track:
        trainer.add_callback(callback)
    trainer.train()
    return trainer, callback.tracker.history


plain, _ = trained(False)
tracked, history = trained(True)
both = zip(plain.model.parameters(), tracked.model.parameters(), strict=True)
assert all(torch.equal(a, b) for a, b in both)
assert tracked.args.world_size == 2
measured = [seen.step for seen in history if not seen.failures]
assert measured == ([0, 2, 4] if os.environ["RANK"] == "0" else [])
