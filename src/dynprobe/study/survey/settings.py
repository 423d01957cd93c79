"""Everything that is trained, stated before anything runs: models, tasks, budget, grid, seeds.

Every model is trained on the same number of sequences of a task, by the recipe of its kind, with
its rate and L2 chosen on validation sequences from a grid of its kind. The grid is run with one
seed on one counting task and on one text; the other tasks take what was chosen there. Two grids
were changed after they had been run: on text the best rate of Mamba lay at the upper edge and that
of the vanilla RNN at the lower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from dynprobe.study.kinds import Kind
from dynprobe.tasks import Task, categorical, multilabel, ordered

#: Words of a sequence and width of every model, unless said otherwise.
LENGTH, HIDDEN = 50, 64


class Counted(Task, Protocol):
    """A synthetic task: it knows the evidence of every word, and what a sequence has gathered."""

    @property
    def evidence(self) -> Tensor: ...

    def scores(self, tokens: Tensor) -> Tensor:
        """(sequences, time) word ids -> (sequences, time, n_scores)."""
        ...


@dataclass(frozen=True)
class Grid:
    """Rates and penalties that are tried of one kind of model on one sort of task."""

    rates: tuple[float, ...]
    penalties: tuple[float, ...]


@dataclass(frozen=True)
class Model:
    """One of the models that are compared.

    Attributes
    ----------
    kind : str
        See :class:`dynprobe.study.kinds.Kind`.
    counting, text : Grid
        On synthetic tasks, where rates of the two optimisers mean different things (Adam with eps
        0.1 or AdamW), and on text, where all have plain Adam.
    penalised : str
        What L2 applies to on synthetic tasks: "all" parameters as in the reference, or "weights",
        which spares the scales of norms. On text: the recurrent layer alone as in the reference,
        or the same "weights".
    options : mapping
        Of :func:`dynprobe.study.models.build_model`.
    """

    kind: str
    counting: Grid
    text: Grid
    penalised: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recurrent(self) -> bool:
        """Whether it is one recurrent layer, which can be trained in stacks."""
        return self.kind not in (Kind.linear_transformer, Kind.mamba)


_REFERENCE_L2 = (1e-4, 5e-4, 2e-3)
# stronger than where a transformer needs it: with AdamW even the strongest costs no accuracy
_BLOCKS_L2 = (1e-4, 1e-3, 1e-2)
_TEXT_L2 = (1e-5, 1e-4, 1e-3)
_TEXT_RNN = Grid((1e-3, 2e-3, 5e-3), _TEXT_L2)
_TEXT_BLOCKS = Grid((5e-4, 1e-3, 3e-3), _TEXT_L2)
_gated = partial(
    Model, counting=Grid((0.03, 0.1, 0.3), _REFERENCE_L2), text=_TEXT_RNN, penalised="all"
)
_transformer = partial(
    Model,
    Kind.linear_transformer,
    Grid((5e-4, 1e-3, 3e-3), _BLOCKS_L2),
    _TEXT_BLOCKS,
    "weights",
)
#: Name -> model. A transformer has four heads, no position encoding; Mamba is one block.
MODELS: dict[str, Model] = {
    "gru": _gated(Kind.gru),
    "lstm": _gated(Kind.lstm),
    "ugrnn": _gated(Kind.ugrnn),
    # at the rates of the others its gradients throw it back again and again
    "rnn": Model(
        Kind.rnn,
        Grid((3e-3, 1e-2, 3e-2), _REFERENCE_L2),
        Grid((3e-4, 1e-3, 2e-3), _TEXT_L2),
        "all",
    ),
    "linear transformer 1": _transformer({"layers": 1}),
    "linear transformer 2": _transformer({"layers": 2}),
    "linear transformer decay": _transformer({"layers": 1, "decay": "retnet"}),
    # on text, too, it learns too slowly at 5e-4 and 1e-3
    "mamba": Model(
        Kind.mamba,
        Grid((1e-3, 3e-3, 1e-2), _BLOCKS_L2),
        Grid((1e-3, 3e-3, 1e-2), _TEXT_L2),
        "weights",
        {"layers": 1},
    ),
}

#: The neutral word is what memories are read under; two labels alone have none, so it is added.
COUNTING: dict[str, Callable[[int, int], Counted]] = {
    "categorical": categorical,
    "ordered": ordered,
    "multilabel": partial(multilabel, neutral=True),
}
#: Text data sets by name, with their numbers of classes.
TEXTS = {"ag_news": 4, "sst5": 5, "goemotions": 4}
#: Of text, what is cut off; most news and reviews are shorter.
MAX_WORDS = 64


@dataclass(frozen=True)
class Topic:
    """One task, and how many seeds it is trained with.

    Attributes
    ----------
    name : str
        Key of :data:`COUNTING` or :data:`TEXTS`.
    n : int
        Classes or labels.
    seeds : tuple of int
        Of weights and sequences, in the chosen setting.
    grid : bool
        Whether rate and L2 of its family are chosen on it.
    length : int
        Words of a synthetic sequence.
    """

    name: str
    n: int
    seeds: tuple[int, ...] = (0, 1, 2)
    grid: bool = False
    length: int = LENGTH

    @property
    def text(self) -> bool:
        """Whether it is a text data set."""
        return self.name in TEXTS

    @property
    def family(self) -> str:
        """Tasks that share rate and L2."""
        return "text" if self.text else "counting"

    @property
    def label(self) -> str:
        """For tables; another length than the usual one is another task."""
        usual = self.text or self.length == LENGTH
        return self.name if usual else f"{self.name}, length {self.length}"

    @property
    def dims(self) -> int:
        """Dimensions that it asks for: N - 1, one per label, or one for ordered classes."""
        return {"multilabel": self.n, "ordered": 1, "sst5": 1}.get(self.name, self.n - 1)


@dataclass(frozen=True)
class Budget:
    """What every model is given on every synthetic task, and on text.

    Attributes
    ----------
    steps, batch : int
        Training steps, fresh sequences in each: the same for every kind.
    cooldown : float
        Share of the last steps over which the rate falls to zero.
    epochs : int
        Times through the training texts; the best by validation is kept.
    hidden : int
        Width of every model.
    """

    steps: int = 2000
    batch: int = 64
    cooldown: float = 0.2
    epochs: int = 4
    hidden: int = HIDDEN


@dataclass(frozen=True)
class Settings:
    """All of a survey.

    Attributes
    ----------
    models : tuple of str
        Keys of :data:`MODELS`.
    topics : tuple of Topic
        In the order in which they are done; that of a family's grid comes first.
    budget : Budget
    grids : mapping
        Model -> grid to use instead of its own.
    """

    models: tuple[str, ...]
    topics: tuple[Topic, ...]
    budget: Budget = field(default_factory=Budget)
    grids: Mapping[str, Grid] = field(default_factory=dict)

    def grid(self, model: str, topic: Topic) -> Grid:
        """What is tried of a model on the family of a task."""
        own = MODELS[model]
        return self.grids.get(model, own.text if topic.text else own.counting)


_FIVE = (0, 1, 2, 3, 4)


def full_settings() -> Settings:
    """The survey; what answers most comes first."""
    return Settings(
        models=tuple(MODELS),
        topics=(
            Topic("categorical", 3, _FIVE, grid=True),
            Topic("categorical", 5, _FIVE),
            Topic("ordered", 5, _FIVE),
            Topic("multilabel", 2),
            Topic("ag_news", 4, grid=True),
            Topic("sst5", 5),
            Topic("goemotions", 4),
            Topic("categorical", 2),
            Topic("categorical", 6),
            Topic("categorical", 4),
        ),
    )


def quick_settings() -> Settings:
    """Two small tasks, three models, one seed and two penalties: minutes, to see how it goes."""
    return Settings(
        models=("gru", "linear transformer 1", "mamba"),
        topics=(
            Topic("categorical", 3, (0,), grid=True, length=25),
            Topic("categorical", 2, (0,), length=25),
        ),
        budget=Budget(steps=400),
        grids={
            "gru": Grid((0.1,), (5e-4, 2e-3)),
            "linear transformer 1": Grid((3e-3,), (1e-5, 1e-3)),
            "mamba": Grid((3e-3,), (1e-5, 1e-3)),
        },
    )
