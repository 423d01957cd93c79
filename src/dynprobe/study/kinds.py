"""The kinds of models that are compared, by name. Imports nothing: the command line lists them."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What carries the memory; :data:`dynprobe.study.models.BUILDERS` makes a model of each."""

    rnn = "rnn"
    ugrnn = "ugrnn"
    gru = "gru"
    lstm = "lstm"
    linear_transformer = "linear_transformer"
    mamba = "mamba"


KINDS = tuple(kind.value for kind in Kind)
