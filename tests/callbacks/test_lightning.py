"""The callback in a real Lightning trainer, and what is said where there is none."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from noisy_training import Noisy, batch, seeded
from torch import nn

from dynprobe.callbacks import LightningCallback
from dynprobe.errors import MissingPackageError
from dynprobe.testing.untouched import changed, of_module

FIXED, LABELS = batch(24)
pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore:.*num_workers.*")


@pytest.mark.skipif(find_spec("lightning") is not None, reason="Lightning is installed")
def test_without_lightning_it_says_what_to_install():
    with pytest.raises(MissingPackageError, match=r"pip install 'dynprobe\[lightning\]'"):
        LightningCallback(FIXED)


def fit(callbacks=(), **options):
    import lightning.pytorch as pl
    from lightning.pytorch.loggers import Logger

    class Lines(Logger):
        name, version = "lines", 0

        def __init__(self):
            super().__init__()
            self.lines = []

        def log_hyperparams(self, params, *args, **kwargs):
            pass

        def log_metrics(self, metrics, step=None):
            self.lines.append((step, dict(metrics)))

    class Module(pl.LightningModule):
        def __init__(self, inner: Noisy):
            super().__init__()
            self.inner = inner

        def forward(self, tokens):
            return self.inner(tokens)

        def training_step(self, both, index):
            loss = nn.functional.cross_entropy(self(both[0]), both[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    module = Module(seeded())
    tokens, labels = batch(64, seed=1)
    data = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(tokens, labels), batch_size=8, shuffle=True
    )
    logger = Lines()
    trainer = pl.Trainer(
        **{"max_steps": 7, "log_every_n_steps": 2, "logger": logger} | options,
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return module, trainer, logger.lines


@pytest.mark.requires("lightning")
def test_a_tracked_training_is_the_same_bit_for_bit_and_logged_once():
    plain, _, before = fit()
    callback = LightningCallback(FIXED, labels=LABELS, every=3)
    tracked, trainer, lines = fit([callback])
    assert changed(of_module(plain), of_module(tracked)) == []
    steps = [step for step, values in lines if "dynprobe/seconds" in values]
    assert steps == [seen.step for seen in callback.tracker.history] == [0, 3, 6, 7]
    assert [line for line in lines if "loss" in line[1]] == before
    assert "dynprobe/inner.gru/participation_ratio" in trainer.callback_metrics
    assert not any(seen.failures for seen in callback.tracker.history)


@pytest.mark.requires("lightning")
def test_batches_of_accumulation_are_no_steps():
    callback = LightningCallback(FIXED, every=1, analyzers=["manifold_dimension"])
    fit([callback], max_steps=3, accumulate_grad_batches=2)
    assert [seen.step for seen in callback.tracker.history] == [0, 1, 2, 3]


@pytest.mark.requires("lightning")
def test_without_a_logger_the_history_is_kept():
    callback = LightningCallback(FIXED, every=2, analyzers=["manifold_dimension"])
    fit([callback], max_steps=2, logger=False)
    assert [seen.step for seen in callback.tracker.history] == [0, 2]
