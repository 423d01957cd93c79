"""A callback for the Trainer of Hugging Face transformers."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback as Base

from dynprobe.callbacks.tracker import Batch, Tracker


class TrainerCallback(Base):
    """Measures the model every few steps, and logs it where the Trainer logs its loss.

    Values go through ``trainer.log``: into ``trainer.state.log_history`` and to every reporter that
    the Trainer has (TensorBoard, Weights & Biases, ...). A callback cannot do that from within
    ``on_log``: the Trainer's own reporters have had their turn by then. So it is given the
    Trainer::

        trainer.add_callback(TrainerCallback(trainer, batch, every=200))

    Measured are the model before the first step, then every `every` steps of the optimizer, and
    the last. Of several processes the main one measures, on its own copy of the model, while the
    others wait at their next step. The Trainer's times and speeds include it:
    ``dynprobe/seconds`` says how long each took.

    Parameters
    ----------
    trainer : transformers.Trainer
        Whose model is measured and whose log is written to.
    batch : mapping, tensor, sequence or callable
        As in :class:`Tracker`: ``trainer.data_collator([dataset[i] for i in range(200)])``, say.
    **options
        Of :class:`Tracker`.

    Attributes
    ----------
    tracker : Tracker
        With the history.
    """

    def __init__(self, trainer: Any, batch: Batch, **options: Any) -> None:
        self.trainer = trainer
        self.tracker = Tracker(trainer.model, batch, **options)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # a search over hyperparameters makes a new model for each trial
        self.tracker.model = kwargs.get("model", self.trainer.model)
        self._measure(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.tracker.due(state.global_step) or state.global_step >= state.max_steps:
            self._measure(state, control)

    def _measure(self, state: Any, control: Any) -> None:
        if not state.is_world_process_zero:
            return
        values = self.tracker.measure(state.global_step)
        # every log of the Trainer clears this flag, also when its own loss is still to be logged
        should_log = control.should_log
        self.trainer.log(values)
        control.should_log = should_log
