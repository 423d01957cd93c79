"""Training on a text data set, with the best epoch kept."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dynprobe.nn.loop import CellLoop
from dynprobe.study.evaluate import evaluate
from dynprobe.study.log import Progress, TrainingLog
from dynprobe.study.penalty import l2_penalty
from dynprobe.study.randomness import isolated_global_rng
from dynprobe.tasks import scoring
from dynprobe.tasks.text import TextTask


def train_text(
    model: nn.Module,
    task: TextTask,
    *,
    epochs: int = 4,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    l2: float = 1e-4,
    clip: float = 10.0,
    penalised: Iterable[nn.Parameter] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingLog:
    """Train `model` on the training part and keep the epoch with the best validation accuracy.

    Cross-entropy at the last word (see :mod:`dynprobe.tasks.scoring`) plus
    ``l2 * sum(theta ** 2)`` over the *recurrent* parameters, as Aitken et al. 2020 (arXiv
    2010.15114) do on natural text; Adam.

    The defaults suit about 10 000 short texts. On AG News (9 990 for training, embedding and
    hidden size 128, dropout 0.5) a GRU reached test accuracies of 0.875, 0.878 and 0.883, an LSTM
    0.869 and 0.869 (seeds from 0), in under a minute; a bag of words reaches 0.887.

    Parameters
    ----------
    model
        Called as ``model(tokens, lengths)``, gives logits ``(batch, n_classes)``. Trained in
        place.
    task
        The data set; its validation part must hold at least one text.
    epochs
        Times through the training part, at least 1.
    batch_size, learning_rate, l2, clip
        See above; `clip` bounds the total norm of the gradient.
    penalised
        The parameters that `l2` applies to; None means those of every recurrent layer of torch or
        of `dynprobe.nn` in the model.
    seed
        Seed of the order of the texts and of dropout.
    progress
        Called after each step.

    Returns
    -------
    TrainingLog
        Of the ``validation_accuracy`` after each epoch, the first highest is ``best_epoch``,
        whose weights the model has at the end. After a KeyboardInterrupt these are the best
        weights of the epochs that were finished, or the current ones if none was.

    Raises
    ------
    ValueError
        If `epochs` or `batch_size` is below 1, the validation part is empty, or there is nothing
        for `l2` to apply to.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(
            f"epochs is {epochs} and batch_size is {batch_size}. Pass at least 1 for each."
        )
    training, validation = task.split("train"), task.split("validation")
    if len(validation) == 0:
        raise ValueError(
            "The validation part is empty, so the best epoch cannot be told. "
            "Read the data with validation=0.1."
        )
    decayed = recurrent_parameters(model) if penalised is None else list(penalised)
    if l2 and not decayed:
        raise ValueError(
            "The model holds no recurrent layer of torch or dynprobe.nn for l2 to apply to. "
            "Pass penalised=model.parameters(), or l2=0."
        )
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = parameters[0].device
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    steps_planned = epochs * -(-len(training) // batch_size)
    losses: list[float] = []
    accuracies: list[float] = []
    best_weights: dict[str, Tensor] = {}
    interrupted = False
    was_training = model.training
    started = time.perf_counter()
    model.train()
    try:
        with isolated_global_rng(seed, device):
            for _ in range(epochs):
                for batch in training.batches(batch_size, generator=generator):
                    batch = batch.to(device)
                    logits = model(batch.tokens, batch.lengths)
                    loss = scoring.losses(logits, batch.labels).mean()
                    if l2:
                        loss = loss + l2 * l2_penalty(decayed)
                    optimizer.zero_grad()
                    torch.autograd.backward(loss)
                    nn.utils.clip_grad_norm_(parameters, clip)
                    optimizer.step()
                    losses.append(loss.item())
                    if progress is not None:
                        progress(len(losses), steps_planned, losses[-1])
                accuracy = evaluate(model, validation.batches(256))
                if accuracy > max(accuracies, default=-1.0):
                    best_weights = {k: v.clone() for k, v in model.state_dict().items()}
                accuracies.append(accuracy)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        model.train(was_training)
    if best_weights:
        model.load_state_dict(best_weights)
    return TrainingLog(
        losses=tuple(losses),
        steps_planned=steps_planned,
        seconds=time.perf_counter() - started,
        seed=seed,
        interrupted=interrupted,
        validation_accuracy=tuple(accuracies),
        best_epoch=accuracies.index(max(accuracies)) if accuracies else None,
    )


def recurrent_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of every `nn.RNN`, `GRU`, `LSTM`, `UGRNN` and `LeakyRNN` in `model`."""
    layers = [module for module in model.modules() if isinstance(module, (nn.RNNBase, CellLoop))]
    return [parameter for layer in layers for parameter in layer.parameters()]
