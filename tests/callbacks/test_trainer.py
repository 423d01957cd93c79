"""The callback in a real Trainer: logs where it logs, and changes nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from noisy_training import batch
from transformers import MambaConfig, MambaForCausalLM, Trainer, TrainingArguments
from transformers import TrainerCallback as PlainCallback

from dynprobe.callbacks import TrainerCallback
from dynprobe.errors import TrackingWarning
from dynprobe.nn import (
    LinearTransformerConfig,
    LinearTransformerForSequenceClassification,
)

TOKENS, LABELS = batch(48)
FIXED = {"input_ids": TOKENS[:24], "labels": LABELS[:24]}
NAME = "dynprobe/transformer.layers.0.attention/memory_participation_ratio"


class Examples(torch.utils.data.Dataset):
    def __len__(self):
        return len(TOKENS)

    def __getitem__(self, i):
        return {"input_ids": TOKENS[i], "labels": LABELS[i]}


def small():
    config = LinearTransformerConfig(
        vocab_size=6, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, num_labels=3
    )
    torch.manual_seed(0)
    return LinearTransformerForSequenceClassification(config)


def trainer_of(model, folder, **arguments):
    given = {
        "max_steps": 6,
        "logging_steps": 3,
        "per_device_train_batch_size": 8,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "save_strategy": "no",
        **arguments,
    }
    return Trainer(model, TrainingArguments(str(folder), **given), train_dataset=Examples())


def trained(folder, every=None, **arguments):
    trainer = trainer_of(small(), folder, **arguments)
    callback = None
    if every:
        callback = TrainerCallback(trainer, FIXED, every=every)
        trainer.add_callback(callback)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pin_memory.*")
        trainer.train()
    return trainer, callback


def test_a_tracked_training_is_the_same_bit_for_bit(tmp_path):
    plain, _ = trained(tmp_path)
    tracked, callback = trained(tmp_path, every=2)
    for a, b in zip(plain.model.parameters(), tracked.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [seen.failures for seen in callback.tracker.history] == [{}] * 4
    # its own log is what it was too, apart from times
    timeless = [
        {k: v for k, v in entry.items() if "second" not in k and "runtime" not in k}
        for t in (plain, tracked)
        for entry in t.state.log_history
        if "loss" in entry or "train_loss" in entry
    ]
    assert timeless[: len(timeless) // 2] == timeless[len(timeless) // 2 :]
    assert len(timeless) == 6


def test_each_value_is_logged_once_at_its_step(tmp_path):
    class Watch(PlainCallback):
        logs: list = []  # noqa: RUF012

        def on_log(self, args, state, control, logs=None, **kwargs):
            self.logs.append((state.global_step, dict(logs)))

    trainer = trainer_of(small(), tmp_path)
    trainer.add_callback(Watch())  # before: a reporter of the Trainer's own comes first as well
    callback = TrainerCallback(trainer, FIXED, every=4)
    trainer.add_callback(callback)
    trainer.train()
    measured = [seen.step for seen in callback.tracker.history]
    assert measured == [0, 4, 6]  # before, every fourth, and the last
    for logged in (
        [(e["step"], e) for e in trainer.state.log_history],
        Watch.logs,
    ):
        steps = [step for step, entry in logged if "dynprobe/seconds" in entry]
        assert steps == measured
        assert [step for step, entry in logged if "loss" in entry] == [3, 6]
    ratios = {
        name
        for name in callback.tracker.history[0].values
        if name.endswith("memory_participation_ratio")
    }
    assert len(ratios) == 2


def test_where_both_are_due_the_loss_is_logged_too(tmp_path):
    trainer, callback = trained(tmp_path, every=3)
    steps = [entry["step"] for entry in trainer.state.log_history if "loss" in entry]
    assert steps == [3, 6]
    assert [seen.step for seen in callback.tracker.history] == [0, 3, 6]


class Texts(Examples):
    def __getitem__(self, i):
        return {"input_ids": TOKENS[i], "labels": TOKENS[i]}


def test_a_mamba_and_a_batch_that_fails(tmp_path):
    config = MambaConfig(vocab_size=6, hidden_size=8, state_size=4, num_hidden_layers=1)
    torch.manual_seed(0)
    trainer = trainer_of(MambaForCausalLM(config), tmp_path, max_steps=2)
    trainer.train_dataset = Texts()
    callback = TrainerCallback(trainer, {"input_ids": torch.full((2, 4), 77)}, every=1)
    trainer.add_callback(callback)
    with pytest.warns(TrackingWarning, match="the forward pass at step 0") as seen:
        trainer.train()
    assert len([w for w in seen if w.category is TrackingWarning]) == 1
    assert [m.step for m in callback.tracker.history] == [0, 1, 2]
    callback.tracker.batch = {"input_ids": TOKENS}
    values = callback.tracker.measure(3)
    assert any(name.endswith("participation_ratio") for name in values), values


def test_only_the_main_process_measures(tmp_path):
    trainer = trainer_of(small(), tmp_path)
    callback = TrainerCallback(trainer, FIXED)
    trainer.state.is_world_process_zero = False
    callback.on_train_begin(trainer.args, trainer.state, trainer.control, model=trainer.model)
    callback.on_step_end(trainer.args, trainer.state, trainer.control)
    assert callback.tracker.history == []


def test_steps_of_accumulation_are_no_steps(tmp_path):
    _, callback = trained(tmp_path, every=2, gradient_accumulation_steps=2, max_steps=3)
    assert [seen.step for seen in callback.tracker.history] == [0, 2, 3]


@pytest.mark.requires("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_values(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "runs"))
    _, callback = trained(tmp_path, every=3, report_to=["tensorboard"])
    events = EventAccumulator(str(tmp_path / "runs"))
    events.Reload()
    history = callback.tracker.history
    name = next(n for n in history[0].values if n.endswith("memory_participation_ratio"))
    seen = [(event.step, event.value) for event in events.Scalars(f"train/{name}")]
    assert seen == [(m.step, pytest.approx(m.values[name])) for m in history]


@pytest.mark.slow
def test_of_two_processes_the_first_measures_and_both_train_as_before(tmp_path):
    script = Path(__file__).with_name("ddp_training.py")
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
