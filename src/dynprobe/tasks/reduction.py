"""Fewer classes: some joined, some left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.errors import suggest


@dataclass(frozen=True, eq=False)
class Reduction:
    """From the classes of a data set to those that are wanted.

    Attributes
    ----------
    names
        The new classes.
    members
        Whether each old class belongs to each new one, bool, ``(old, new)``; to one at most.
    """

    names: list[str]
    members: Tensor

    def apply(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return which rows are left, int64, and their new labels.

        Rows of one class that is left out go with it. Rows of several labels stay, without those
        labels that are left out, be it with none.

        Parameters
        ----------
        labels
            Class indices, int64, ``(rows,)``, or bool, ``(rows, old)``.
        """
        if labels.dim() == 2:
            return torch.arange(len(labels)), (labels.long() @ self.members.long()) > 0
        of_class = self.members[labels]
        rows = of_class.any(dim=1).nonzero().squeeze(1)
        return rows, of_class[rows].long().argmax(dim=1)


def reduce_classes(
    names: Sequence[str],
    keep: Sequence[str] | None,
    merge: Mapping[str, Sequence[str]] | None,
) -> Reduction:
    """Join classes, then keep some.

    Parameters
    ----------
    names
        The old classes.
    keep
        Which classes to keep after joining, in this order; None for all, each where its first
        member was.
    merge
        New name to the old classes it stands for.

    Raises
    ------
    ValueError
        If a name is not that of a class, a class is joined twice or kept twice, or a new name is
        that of another class.
    """
    joined: dict[str, str] = {}
    for new, members in (merge or {}).items():
        if isinstance(members, str):
            raise ValueError(f"merge gives {members!r} for {new!r}. Pass a list of class names.")
        for old in members:
            _check_known(old, names, "merge")
            if old in joined:
                raise ValueError(
                    f"merge puts {old!r} into {joined[old]!r} and {new!r}. Name it once."
                )
            joined[old] = new
    for new in merge or {}:
        if new in names and new not in joined:
            raise ValueError(
                f"merge calls a new class {new!r}, the name of another. List {new!r} among its "
                "members, or choose another name."
            )
    after = list(dict.fromkeys(joined.get(name, name) for name in names))
    kept = after if keep is None else list(keep)
    for name in kept:
        _check_known(name, after, "classes")
    if len(set(kept)) < len(kept):
        raise ValueError(f"classes is {kept}, with a name twice. Name each class once.")
    members_of = [[joined.get(old, old) == new for new in kept] for old in names]
    return Reduction(kept, torch.tensor(members_of, dtype=torch.bool).view(len(names), len(kept)))


def _check_known(name: str, known: Sequence[str], argument: str) -> None:
    if name not in known:
        raise ValueError(
            f"{argument} names {name!r}, which is none of the classes. {suggest(name, known)}"
        )
