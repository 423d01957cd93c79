"""What was measured during a training, and when."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measurement:
    """One look at the model.

    Attributes
    ----------
    step : int
        Training step after which it was taken.
    values : dict
        Scalars by name, such as ``"dynprobe/rnn/participation_ratio"``.
    seconds : float
        Wall-clock time that it took from the training.
    failures : dict
        What failed, by ``"analyzer of layer"``, and why.
    skipped : dict
        What did not apply to a layer, by the same names, and why.
    """

    step: int
    values: dict[str, float]
    seconds: float
    failures: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
