"""The demonstration: train on counting evidence, attach, analyse."""

from __future__ import annotations

import torch

from dynprobe.nn import RNNClassifier
from dynprobe.probe import attach
from dynprobe.report import Report
from dynprobe.study.evaluate import evaluate
from dynprobe.study.stage import Stage, quiet, told
from dynprobe.study.train import train
from dynprobe.tasks import categorical

#: Phrases that are recorded and analysed (Aitken et al. 2020 use 600 too).
PHRASES = 600
#: Fresh phrases the accuracy is measured on.
TEST_PHRASES = 2000


def run_demo(
    *,
    n_classes: int = 3,
    length: int = 50,
    hidden_size: int = 64,
    steps: int = 3000,
    cooldown: int = 300,
    l2: float = 5e-4,
    cell: str = "gru",
    seed: int = 0,
    progress: Stage = quiet,
) -> Report:
    """Train a recurrent classifier on the counting task with the reference recipe; analyse it.

    Parameters
    ----------
    n_classes, length : int
        Of the task, see :func:`dynprobe.tasks.categorical`.
    hidden_size, cell : int, str
        Of the model, see :class:`dynprobe.nn.RNNClassifier`.
    steps, cooldown, l2 : int, int, float
        Of the training, see :func:`dynprobe.study.train.train`.
    seed : int
        Seed of weights, data and analysis; another one is derived for the test phrases.
    progress : callable
        ``progress(stage, done, total)``.
    """
    task = categorical(n_classes, length)
    model = RNNClassifier(
        len(task.vocabulary),
        n_classes,
        cell=cell,
        hidden_size=hidden_size,
        generator=torch.Generator().manual_seed(seed),
    )
    log = train(
        model,
        task,
        steps=steps,
        cooldown=cooldown,
        l2=l2,
        seed=seed,
        progress=told(progress, "training"),
    )
    model.eval()
    accuracy = evaluate(model, [task.sample(TEST_PHRASES, seed=seed + 1_000_003)])
    phrases = task.sample(PHRASES, seed=seed + 2_000_003)
    with (
        attach(model, vocabulary=task.vocabulary, classes=task.class_names) as probe,
        torch.no_grad(),
    ):
        model(phrases.tokens, phrases.lengths)
    probe.recording().annotate(labels=phrases.labels)
    report = probe.analyze(
        seed=seed, progress=lambda name, _, done, total: progress(name, done, total)
    )
    cool = f", the last {cooldown:,} of them cooling down" if cooldown else ""
    report.details |= {
        "task": f"{task.name}: {length} words, uniform counts, ties dropped",
        "model": f"{cell.upper()}, {hidden_size} units, one-hot input, readout without bias",
        "training": (
            f"{len(log.losses):,} steps of 128 fresh phrases{cool}; Adam, rate 0.1 x 0.9997^step, "
            f"eps 0.1, L2 {l2:g} on all parameters; {log.seconds:.0f} s"
        ),
        "test accuracy": f"{accuracy:.4f} on {TEST_PHRASES:,} fresh phrases",
        "analysed": f"{PHRASES} phrases, every state",
        "seed": str(seed),
    }
    return report
