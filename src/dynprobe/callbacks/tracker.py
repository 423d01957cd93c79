"""The engine behind every callback: a fixed batch, looked at every few steps of a training."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dynprobe.analysis import AnalyzerChoice
from dynprobe.analyzers.registry import find_analyzer
from dynprobe.atomic import whole_file
from dynprobe.callbacks.history import Measurement
from dynprobe.callbacks.scalars import accuracy, default_analyzers, scalars
from dynprobe.callbacks.sharding import is_sharded, unwrapped
from dynprobe.callbacks.undisturbed import undisturbed
from dynprobe.errors import DynprobeError, ParameterError, ReadoutError, TrackingWarning
from dynprobe.frames.pandas import data_frame
from dynprobe.plain import plain
from dynprobe.probe import Probe, attach
from dynprobe.report import Report

Batch = Mapping[str, Any] | Sequence[Any] | Tensor | Callable[[nn.Module], Any]


class Tracker:
    """Measures a model every few steps of its training, which does not notice.

    Each time the model runs once on the same batch, in evaluation mode and without gradients, with
    a probe that is taken off again. Weights, gradients, optimizer, buffers, modes and random states
    are those of a training without it, bit for bit. What fails is warned about once and noted;
    the training goes on.

    Parameters
    ----------
    model : nn.Module
        The model that is trained; of DistributedDataParallel and ``torch.compile`` the one inside,
        which runs eagerly. Call :meth:`step` on one process only. A probe of your own on the same
        model would record the batch too.
    batch : mapping, tensor, sequence or callable
        What to run it on, the same each time: keyword arguments, the only argument, or arguments,
        moved to the model's device; or a function that runs the model it is given. Some hundred
        sequences of held-out data are enough for a participation ratio.
    labels : Tensor, optional
        (sequences,) or (sequences, labels), for the accuracy, where the model's ``labels``
        argument does not tell them.
    every : int
        Steps between measurements.
    analyzers : optional
        As in :meth:`dynprobe.Probe.analyze`; of an analyzer that is not built in every number of
        its result is taken. By default participation ratio, components for 95 % of the variance,
        longest time constant and number of integrating modes at the fixed and slow points that 8
        seeds lead to (states of at most 256 units), smallest and largest readout angle, the
        participation ratio of matrix memories, and the accuracy.
    layers : str or sequence of str, optional
        Which recurrences, as in :func:`dynprobe.attach`.
    prefix : str
        In front of every name.
    seed : int
        Of everything random in the analyses.
    path : path, optional
        A JSON file to write the history to after each measurement.
    **options
        For :func:`dynprobe.attach`: ``readout``, ``tokens``, ``lengths``, ``vocabulary``,
        ``store`` (factors by default, so that matrix memories need not be formed), ...

    Attributes
    ----------
    history : list of Measurement
        What was found, in order.

    Raises
    ------
    ParameterError
        If `every` is not positive.
    NoRecurrenceError, UnknownNameError
        If the model has nothing to probe, or a layer or an analyzer does not exist: at once, and
        not when the training has been running for an hour.

    Examples
    --------
    >>> import torch, dynprobe
    >>> model = torch.nn.GRU(4, 8, batch_first=True)
    >>> tracker = dynprobe.callbacks.Tracker(model, torch.randn(20, 15, 4), every=50)
    >>> for step in range(100):
    ...     ...  # a step of training
    ...     values = tracker.step(step)
    >>> [seen.step for seen in tracker.history]
    [0, 50]
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Batch,
        *,
        labels: Any = None,
        every: int = 100,
        analyzers: Sequence[AnalyzerChoice] | str | None = None,
        layers: Any = None,
        prefix: str = "dynprobe",
        seed: int = 0,
        path: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(every, int) or every < 1:
            raise ParameterError(f"every is {every!r}; measure every first, second, ... step.")
        self.model = model
        self.batch, self.labels = batch, labels
        self.every, self.prefix, self.seed = every, prefix, seed
        self.analyzers = analyzers
        self.path = None if path is None else Path(path)
        self._options = {"layers": layers, "store": "factors", **options}
        self.history: list[Measurement] = []
        self._last = -1  # step of the last measurement
        self._calls = 0
        self._warned: set[str] = set()
        named = [analyzers] if isinstance(analyzers, str) else analyzers
        for item in named if isinstance(named, Sequence) else ():
            if isinstance(item, str):
                find_analyzer(item)
        if not is_sharded(model):
            attach(unwrapped(model), **self._options).detach()

    # -- measuring ---------------------------------------------------------------------------

    def step(self, step: int | None = None) -> dict[str, float]:
        """Measure if it is time to: at the first call, then each time `every` steps are full.

        Parameters
        ----------
        step : int, optional
            Number of the training step; by default calls are counted, from 1.

        Returns
        -------
        dict
            Scalars by name; empty where nothing was measured.
        """
        self._calls += 1
        step = self._calls if step is None else step
        return self.measure(step) if self.due(step) else {}

    def due(self, step: int) -> bool:
        """Whether :meth:`step` would measure."""
        return step != self._last and step // self.every != self._last // self.every

    def measure(self, step: int) -> dict[str, float]:
        """Measure now, and note it as of that step."""
        start = time.perf_counter()
        self._last = step
        found: dict[str, float] = {}
        failures: dict[str, str] = {}
        skipped: dict[str, str] = {}
        try:
            self._look(found, failures, skipped)
        except Exception as error:  # whatever it is, the training is worth more
            failures["the forward pass"] = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - start
        values = {f"{self.prefix}/{name}": value for name, value in found.items()}
        values[f"{self.prefix}/seconds"] = seconds
        self.history.append(Measurement(step, values, seconds, failures, skipped))
        self._tell(failures)
        return dict(values)

    def _look(
        self, found: dict[str, float], failures: dict[str, str], skipped: dict[str, str]
    ) -> None:
        model = unwrapped(self.model)
        if is_sharded(model):
            raise DynprobeError(
                "The parameters lie in pieces on several processes (FSDP, tensor parallel, "
                "ZeRO-3), and a run of the model on one of them would wait for the others. Track a "
                "training whose processes hold the whole model, or probe saved checkpoints."
            )
        with undisturbed(model):
            with attach(model, **self._options) as probe:
                output = self._run(model)
            right = accuracy(output, self._labels())
            if right is not None:
                found["accuracy"] = right
            for layer in probe.layers:
                if layer.calls == 0:
                    skipped[layer.key] = "it was never called"
                    continue
                try:
                    report = self._analyze(probe, layer.key)
                except Exception as error:  # one layer, such as one that holds NaN
                    failures[layer.key] = f"{type(error).__name__}: {error}"
                    continue
                for name, value in scalars(report, layer.key).items():
                    found[f"{layer.key}/{name}"] = value
                if (right := report.views[layer.key].accuracy) is not None:
                    found.setdefault("accuracy", right)
                for (analyzer, at), failure in report.failures.items():
                    failures[f"{analyzer} of {at}"] = str(failure)
                skipped |= {f"{name} of {at}": why for (name, at), why in report.skipped.items()}

    def _run(self, model: nn.Module) -> Any:
        """Run the model on the batch."""
        if callable(self.batch) and not isinstance(self.batch, Tensor):
            return self.batch(model)
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        batch = _to(self.batch, device)
        if isinstance(batch, Mapping):
            return model(**batch)
        return model(batch) if isinstance(batch, Tensor | PackedSequence) else model(*batch)

    def _labels(self) -> Any:
        """Labels that were given, or that the model is given."""
        if self.labels is None and isinstance(self.batch, Mapping):
            return self.batch.get("labels")
        return self.labels

    def _analyze(self, probe: Probe, layer: str) -> Report:
        recording = probe.recording(layer)
        if self.labels is not None:
            recording.annotate(labels=self.labels)
        analyzers = self.analyzers
        if analyzers is None:
            try:
                n_classes = probe.readout(layer).n_classes
            except ReadoutError:
                n_classes = None
            analyzers = default_analyzers(recording.layout.size, n_classes)
        report = probe.analyze(analyzers, layers=layer, seed=self.seed)
        if report.interrupted:
            raise KeyboardInterrupt  # meant for the training
        return report

    def _tell(self, failures: dict[str, str]) -> None:
        """Write the file, and warn of what failed for the first time."""
        if self.path is not None:
            try:
                self.save(self.path)
            except OSError as error:
                failures = {**failures, str(self.path): f"{type(error).__name__}: {error}"}
        new = {what: why for what, why in failures.items() if what not in self._warned}
        self._warned |= set(new)
        for what, why in new.items():
            warnings.warn(
                f"dynprobe could not measure {what} at step {self._last}: {why} The training goes "
                "on; later failures of the same are in tracker.history only.",
                TrackingWarning,
                stacklevel=4,
            )

    # -- what was found ----------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Wall-clock time that all measurements took from the training."""
        return math.fsum(seen.seconds for seen in self.history)

    def to_dict(self) -> dict[str, Any]:
        """The history as plain lists and numbers, ready for JSON."""
        history: list[Any] = plain([asdict(seen) for seen in self.history])
        return {"every": self.every, "seconds": self.seconds, "history": history}

    def to_pandas(self) -> Any:
        """One row a measurement: ``step`` and a column a scalar.

        Raises
        ------
        MissingPackageError
            If pandas is not installed.
        """
        return data_frame([{"step": seen.step, **seen.values} for seen in self.history])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the history as JSON."""
        target = Path(path)
        with whole_file(target) as part:
            part.write_text(json.dumps(self.to_dict()), encoding="utf-8")
        return target

    def __repr__(self) -> str:
        return (
            f"Tracker({type(self.model).__name__}: {len(self.history)} measurements, every "
            f"{self.every} steps, {self.seconds:.1f} s in all)"
        )


def _to(value: Any, device: torch.device) -> Any:
    """Tensors of a batch on the model's device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, PackedSequence):
        return value.to(device)  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return {name: _to(item, device) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to(item, device) for item in value]
    return value
