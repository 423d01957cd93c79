"""A callback for Lightning."""

from __future__ import annotations

import sys
from typing import Any

from dynprobe.callbacks.tracker import Batch, Tracker
from dynprobe.errors import MissingPackageError


def _callback() -> Any:
    """Lightning's base class, of the package that is in use: it goes by two names."""
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        from pytorch_lightning import Callback

        return Callback
    try:
        from lightning.pytorch import Callback
    except ImportError:
        try:
            from pytorch_lightning import Callback
        except ImportError:
            return None
    return Callback


_FOUND = _callback()
_BASE: Any = _FOUND or object


class LightningCallback(_BASE):
    """Measures the module every few steps, and logs to the loggers that the trainer has.

    Values go to every logger of the trainer at once, whatever ``log_every_n_steps`` says, and by
    ``pl_module.log`` into ``trainer.callback_metrics``. Measured are the module before the first
    step, then every `every` steps of its optimizers, and the last. Of several processes the first
    measures, on its own copy of the module.

    Parameters
    ----------
    batch : mapping, tensor, sequence or callable
        As in :class:`Tracker`; the module is called with it, or given to the function.
    **options
        Of :class:`Tracker`.

    Attributes
    ----------
    tracker : Tracker or None
        With the history; None before the first fit.

    Raises
    ------
    MissingPackageError
        If neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """

    def __init__(self, batch: Batch, **options: Any) -> None:
        if _FOUND is None:
            raise MissingPackageError(
                "LightningCallback needs Lightning, which is not installed. Install it: "
                "pip install 'dynprobe[lightning]'."
            )
        super().__init__()
        self.tracker: Tracker | None = None
        self._batch, self._options = batch, options

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        if self.tracker is None:
            self.tracker = Tracker(pl_module, self._batch, **self._options)
        self.tracker.model = pl_module
        self._measure(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # batches that only accumulate gradients leave the step, and with it due(), as it was
        if self.tracker is not None and self.tracker.due(trainer.global_step):
            values = self._measure(trainer, pl_module)
            # not to the loggers a second time
            pl_module.log_dict(values, logger=False, rank_zero_only=True)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        seen = [] if self.tracker is None else self.tracker.history
        if seen and seen[-1].step != trainer.global_step:
            self._measure(trainer, pl_module)

    def _measure(self, trainer: Any, pl_module: Any) -> dict[str, float]:
        assert self.tracker is not None
        values = self.tracker.measure(trainer.global_step)
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        return values
