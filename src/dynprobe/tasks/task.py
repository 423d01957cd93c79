"""What training needs of a task."""

from __future__ import annotations

from typing import Protocol

import torch

from dynprobe.tasks.batch import Batch


class Task(Protocol):
    """A source of labelled sequences, new ones whenever asked.

    Attributes
    ----------
    name : str
        For titles and tables.
    vocabulary : list of str
        Words by id.
    class_names : list of str
        One name per output of a classifier: classes, or labels where several may hold at once.
    n_classes : int
        How many these are.
    padding_idx : int or None
        The id of ``"<pad>"``; None where all sequences are of one length.
    """

    @property
    def name(self) -> str: ...
    @property
    def vocabulary(self) -> list[str]: ...
    @property
    def class_names(self) -> list[str]: ...
    @property
    def n_classes(self) -> int: ...
    @property
    def padding_idx(self) -> int | None: ...

    def sample(
        self, n: int, *, seed: int | None = None, generator: torch.Generator | None = None
    ) -> Batch:
        """Draw `n` labelled sequences."""
        ...
