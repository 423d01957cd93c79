"""Which networks are trained: tasks, cells, penalties and seeds, stated before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from dynprobe.study.settling import Settling
from dynprobe.tasks import categorical, multilabel, ordered
from dynprobe.tasks.task import Task

#: Words of a sequence, units of a network, sequences of a step: those of the reference.
LENGTH, UNITS, BATCH = 50, 128, 128
#: The penalty of the main figures.
L2 = 5e-4
#: One that suits LSTM and UGRNN better; the survey chose it for its smaller ones.
STRONGER_L2 = 2e-3
#: The reference's own GRU; `nn.GRU` has its figures too, but for five ordered classes.
RESET_FIRST = "gru_reset_first"

#: Categorical as the reference has it: a phrase with a tie counts to the first of its classes.
TIED = "categorical_ties"

TASKS: dict[str, Callable[[int, int], Task]] = {
    "categorical": categorical,
    TIED: partial(categorical, ties="first"),
    "ordered": ordered,
    "multilabel": multilabel,
}


@dataclass(frozen=True)
class Setting:
    """Networks of one kind on one task, one for each seed; trained together as a stack.

    Attributes
    ----------
    kind : str
        Of task, a key of :data:`TASKS`.
    n : int
        Classes, or labels.
    cell : str
        See :class:`dynprobe.nn.RNNClassifier`.
    l2 : float
        Penalty on all parameters.
    seeds : tuple of int
        Of weights and sequences.
    units, length : int
        Of a network, of a sequence.
    steps : int
        Most training steps of 128 sequences; the reference had 6,000 to 20,000. At step 5,000 the
        penalty has not yet taken out what readouts have in common: two of two classes are
        173 to 174 degrees apart there, 177 at step 10,000 (``benchmarks/training_length.py``).
    settling : Settling
        Where training ends before.
    full : bool
        Whether fixed points and modes are measured too; they take longer than the rest.
    """

    kind: str
    n: int
    cell: str = "gru"
    l2: float = L2
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    units: int = UNITS
    length: int = LENGTH
    steps: int = 10_000
    settling: Settling = field(default_factory=lambda: Settling(min_steps=9000))
    full: bool = True

    @property
    def key(self) -> str:
        """Name for files and tables."""
        seeds = "-".join(map(str, self.seeds))
        return f"{self.kind}{self.n}_{self.cell}{self.units}_l2-{self.l2:g}_seeds-{seeds}"

    @property
    def least_steps(self) -> int:
        """Training cannot end before."""
        return min(self.steps, self.settling.min_steps)

    def network(self, seed: int) -> tuple[str, int, str, int, int, float, int]:
        """What tells the network of one seed from all others; rows have it too."""
        return (self.kind, self.n, self.cell, self.units, self.length, self.l2, seed)

    def task(self) -> Task:
        """The task itself."""
        return TASKS[self.kind](self.n, self.length)


#: Of settings beside the sweep over N; the sweep itself has five.
_THREE = (0, 1, 2)


def full_settings() -> list[Setting]:
    """The networks of the figures, those that answer most first."""
    sweep = [Setting("categorical", n) for n in (3, 5, 10, 2, 4, 6, 8, 7, 9)]
    return [
        sweep[0],
        Setting("ordered", 3, l2=1e-2, seeds=_THREE),
        Setting("multilabel", 2),
        Setting("ordered", 5, cell=RESET_FIRST, l2=1e-2, seeds=_THREE),
        *sweep[1:5],
        Setting("ordered", 5, cell=RESET_FIRST, l2=1e-3, seeds=_THREE),
        Setting("multilabel", 3, seeds=_THREE),
        # what is right of a tie is learned slowly: the reference's most steps, not half of them
        *(Setting(TIED, n, steps=20_000) for n in (2, 10)),
        Setting(TIED, 3),
        *sweep[5:],
        *(
            Setting("categorical", 3, cell=cell, seeds=_THREE)
            for cell in (RESET_FIRST, "lstm", "ugrnn", "rnn")
        ),
        *(
            Setting("categorical", 3, cell=cell, l2=STRONGER_L2, seeds=_THREE)
            for cell in ("lstm", "ugrnn")
        ),
        *(Setting("multilabel", n, l2=l2, seeds=_THREE) for n in (2, 3) for l2 in (1e-4, 1e-3)),
        *(Setting("categorical", 5, cell=cell, seeds=_THREE) for cell in ("lstm", "ugrnn")),
        *(Setting("ordered", 5, l2=l2, seeds=_THREE) for l2 in (1e-2, 1e-3)),
        *(Setting("categorical", 3, l2=l2, seeds=_THREE) for l2 in (1e-4, 2e-3)),
    ]


def quick_settings() -> list[Setting]:
    """Smaller networks, shorter phrases and fewer seeds, to see in minutes what it comes to."""

    def brief(kind: str, n: int, l2: float = L2) -> Setting:
        return Setting(
            kind,
            n,
            l2=l2,
            seeds=(0, 1),
            units=48,
            length=25,
            steps=2000,
            settling=Settling(min_steps=1500, check_every=250),
        )

    return [
        *(brief("categorical", n) for n in (2, 3, 4, 5)),
        brief("ordered", 3, 1e-2),
        brief("multilabel", 2),
    ]
