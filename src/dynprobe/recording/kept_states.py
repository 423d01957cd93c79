"""The states of a recording: kept as they were, reduced, or formed of factors when asked for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from dynprobe.arrays import checked_lengths, last_valid
from dynprobe.errors import BudgetError, LargeStatesError, NonFiniteStatesError, ShapeError
from dynprobe.recording.meta import RecordingMeta
from dynprobe.recurrences.base import check_width
from dynprobe.recurrences.factors import Factors
from dynprobe.recurrences.gram import gram
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.participation import participation_ratio
from dynprobe.recurrences.principal import PCA, principal_components
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.recurrences.state_matrix import STATE, StateMatrix, state_matrix
from dynprobe.store import DEFAULT_BUDGET, STATES, Budget, budget_bytes, size


class KeptStates:
    """States of many sequences, padded at the end to one length, and what they are formed of.

    Its attributes are told at :class:`dynprobe.Recording`, which adds what goes with the states.
    """

    def __init__(
        self,
        states: Tensor | None,
        meta: RecordingMeta,
        *,
        lengths: Tensor | None,
        inputs: Tensor | None,
        initial: Tensor | None,
        steps: Tensor | None,
        form: RankOne | None,
        scale: Tensor | None,
    ) -> None:
        store = meta.store
        if states is None:
            if form is None or inputs is None or initial is None or scale is None:
                raise ShapeError("Without states, a recording needs inputs, initial, form, scale.")
            sequences, time = inputs.shape[:2]
        else:
            if states.dim() != 3:
                raise ShapeError(
                    f"states must be (sequences, time, state_dim), got shape "
                    f"{tuple(states.shape)}. One trajectory is states[None]; states without time "
                    "are states[:, None]."
                )
            width = store.width(meta.layout.size)
            if states.shape[-1] != width:
                raise ShapeError(
                    f"states have width {states.shape[-1]}, but the layout {meta.layout} has "
                    f"{width}."
                )
            sequences, time = states.shape[:2]
        self._kept = states
        self._factors: Factors | None = None
        #: What forming states may take; a probe shares one among its recordings.
        self.budget = Budget(DEFAULT_BUDGET)
        #: Bytes of states that were formed.
        self.formed_bytes = 0
        self.meta = meta
        self.form, self.scale = form, scale
        self.lengths = checked_lengths(lengths, sequences, time)
        self.steps = steps
        self.initial = initial
        self.inputs = inputs
        if inputs is not None and inputs.shape[:2] != (sequences, time):
            raise ShapeError(
                f"inputs have shape {tuple(inputs.shape)}; they must begin with (sequences, time) "
                f"= ({sequences}, {time}) as the states do."
            )
        if initial is not None and initial.shape != (sequences, meta.layout.size):
            raise ShapeError(
                f"initial has shape {tuple(initial.shape)}, expected "
                f"({sequences}, {meta.layout.size})."
            )

    @property
    def states(self) -> Tensor:
        store = self.meta.store
        if self._kept is None and store.what == STATES:
            self.form_states()
        if self._kept is not None and not store.reduces:
            return self._kept
        n, time = self.shape[:2]
        total = size(n * time * self.layout.size * 4)
        if self._kept is None:
            raise LargeStatesError(
                f"{self.layer!r} is recorded as factors: all its states would take {total}. "
                f"rec.part({self.layout.names[0]!r}, every=16) forms some, rec.final the last, "
                "rec.project(X), rec.gram() and rec.pca(k) work without forming any; "
                "rec.form_states() forms them all."
            )
        works = "rec.project() gives" if store.project is not None else "rec.flat(), rec.final give"
        if store.every > 1:
            works = "rec.flat() (rec.steps says of which steps), rec.final give"
        raise LargeStatesError(
            f"Of {self.layer!r} {store} was recorded, and the other states are gone; {works} "
            "what was kept. To have every state, record with store='states'."
        )

    @property
    def complete(self) -> bool:
        """Whether every state is there, so that `states` can be had."""
        store = self.meta.store
        return store.what == STATES and not store.reduces

    @property
    def kept(self) -> Tensor | None:
        """(sequences, time, width), what was kept of the states; None while it is factors."""
        return self._kept

    @property
    def layer(self) -> str:
        """Key of the recurrence."""
        return self.meta.layer

    @property
    def layout(self) -> Layout:
        """Parts of the state."""
        return self.meta.layout

    @property
    def shape(self) -> tuple[int, int, int]:
        """(sequences, time, state_dim): rows kept and full width of the state."""
        rows = self._kept if self._kept is not None else self.inputs
        assert rows is not None
        return rows.shape[0], rows.shape[1], self.layout.size

    @property
    def mask(self) -> Tensor:
        """(sequences, time), True where a row is valid."""
        time = torch.arange(self.shape[1], device=self.lengths.device)
        rows = self._kept if self._kept is not None else self.inputs
        assert rows is not None
        return (time < self.lengths[:, None]).to(rows.device)

    @property
    def nbytes(self) -> int:
        """Bytes of states and inputs."""
        held = (self._kept, self.inputs, self.initial, self.scale)
        return sum(t.numel() * t.element_size() for t in held if t is not None)

    @property
    def has_factors(self) -> bool:
        """Whether the states follow from factors: a rank-one recurrence whose inputs are known."""
        try:
            self._source()
        except LargeStatesError:
            return False
        return True

    @property
    def factors(self) -> Factors:
        """Factors of the states, for recurrences whose state changes by one outer product a token.

        Raises
        ------
        LargeStatesError
            If the recurrence is of another kind, or they were not kept.
        """
        if self._factors is None:
            form, inputs, initial, scale = self._source()
            self._factors = form.factors(inputs, initial, scale)
        return self._factors

    def _source(self) -> tuple[RankOne, Tensor, Tensor, Tensor]:
        """What factors are made of: form, inputs, initial state and scale."""
        if (
            self.meta.store.reduces
            or self.form is None
            or self.inputs is None
            or self.initial is None
            or self.scale is None
        ):
            raise LargeStatesError(
                f"{self.layer!r} has no factors: its recurrence is not of rank one, or something "
                "else was kept of it."
            )
        return self.form, self.inputs, self.initial, self.scale

    def form_states(self, budget: int | str | None = None) -> Self:
        """Form every state of a recording of factors, unless that takes more than `budget` bytes.

        Returns
        -------
        Self
            The recording itself.

        Raises
        ------
        BudgetError
            Before anything is allocated; the factors stay.
        """
        if self._kept is not None:
            return self
        store = self.meta.store
        dtype = store.dtype or self.factors.k.dtype
        needed = math.prod(self.shape) * dtype.itemsize
        self._afford(needed, budget)
        self.budget.used += needed
        self.formed_bytes = needed
        states = self.factors.states()
        if bool((self.lengths < self.shape[1]).any()):
            # after the end of a sequence there is no state
            states.masked_fill_(~self.mask[..., None], 0)
        self.take_states(states.to(dtype))
        return self

    def take_states(self, states: Tensor) -> None:
        """Hold states that were formed of the factors; from here on they are what is kept."""
        self._kept = states
        self.meta = replace(self.meta, store=replace(self.meta.store, what=STATES))

    def _afford(self, needed: int, budget: int | str | None = None) -> None:
        """Raise BudgetError before forming states that take more than the budget."""
        limit = self.budget.left if budget is None else budget_bytes(budget)
        if needed > limit:
            raise BudgetError(
                f"All states of {self.layer!r} take {size(needed)}, more than what is left of the "
                f"budget, {size(limit)}. They are kept as factors: rec.part(name, every=16), "
                "rec.final, rec.project(X) and rec.pca(k) work without forming them all; "
                "rec.form_states(budget='16 GiB') forms them."
            )

    def _shorten(self, lengths: Tensor) -> None:
        """Take other lengths, and clear what lies behind them."""
        self.lengths = lengths
        # not by multiplication: what is padded may hold NaN
        valid = self.mask[..., None]
        self._factors = None
        if self._kept is not None:
            self._kept = torch.where(valid, self._kept, 0)
        if self.inputs is not None:
            self.inputs = torch.where(valid, self.inputs, 0)

    @property
    def final(self) -> Tensor:
        """(sequences, state_dim), the last valid state of each sequence.

        Of a recording of projections, their last values; of every k-th state, the last kept one.
        """
        if self._kept is not None:
            if self._kept.shape[1] == 0:
                raise LargeStatesError(
                    f"No state of {self.layer!r} was kept: its sequences are shorter than "
                    f"{self.meta.store.every} tokens."
                )
            return last_valid(self._kept, self.lengths)
        return self.factors.at(self.lengths[:, None] - 1)[:, 0]

    @property
    def before(self) -> Tensor:
        """(sequences, time, state_dim), the state before each token; NaN where it is unknown."""
        first = self.initial
        if first is None:
            first = self.states.new_full((len(self), self.states.shape[-1]), torch.nan)
        return torch.cat([first.unsqueeze(1), self.states[:, :-1]], dim=1)

    def part(self, name: str, every: int | None = None) -> Tensor:
        """One named part of the state, such as "c" of an LSTM or "S" of linear attention.

        Parameters
        ----------
        every : int, optional
            Only the states after tokens every, 2 every, ...; a recording of factors forms no
            others, one of every k-th state has those of multiples of k.

        Returns
        -------
        Tensor
            (sequences, time // every, *shape).
        """
        parts = dict(self.layout.parts)
        where = self.layout.slice(name)
        store = self.meta.store
        if every is not None and every < 1:
            raise ShapeError(f"every={every}: form every first, second, ... state.")
        if every is None:
            states = self.states
        elif self._kept is None:
            n, time, width = self.shape
            self._afford(n * (time // every) * width * 4)
            states = self.factors.states(every)
            after = torch.arange(every - 1, self.shape[1], every, device=states.device)
            ended = after >= self.lengths.to(states.device)[:, None]
            states.masked_fill_(ended[..., None], 0)
        elif store.every > 1 and every % store.every == 0 and not self._offset:
            states = self._kept[:, every // store.every - 1 :: every // store.every]
        else:
            states = self.states[:, every - 1 :: every]
        part: Tensor = states[..., where].unflatten(-1, parts[name])
        return part

    @property
    def _offset(self) -> bool:
        """Whether the kept steps are not those that are multiples of `every` from the start."""
        if self.steps is None:
            return False
        due = (torch.arange(self.shape[1]) + 1) * self.meta.store.every - 1
        return bool(((self.steps.cpu() != due) & self.mask.cpu()).any())

    def matrix(self, of: str = STATE) -> StateMatrix:
        """All valid states as the rows of one matrix, formed or not.

        Parameters
        ----------
        of : {"S", "S/t", "S/z"}
            Which: the states as recorded, with their normaliser and running maximum, if they have
            them; each divided by the number of tokens since the first that was
            recorded, so that an undecayed sum becomes a mean; or, of recurrences with a
            normaliser, the matrices alone, each row divided by its normaliser.

        Raises
        ------
        LargeStatesError
            If projections were kept.
        UnknownNameError
            For another `of`, or for "S/z" where there is no normaliser.
        """
        if self.meta.store.project is not None:
            self.flat()  # says what is there instead
        states = self.factors if self._kept is None else self._kept
        return state_matrix(states, self.mask, of, form=self.form, steps=self.steps)

    def project(self, directions: Tensor | None = None, *, of: str = STATE) -> Tensor:
        """Inner products of every state with some directions; factors are not formed for it.

        Parameters
        ----------
        directions : Tensor, optional
            (n, state_dim), or of "S/z" (n, heads * key * value). Left out, for a recording of
            projections: those it was recorded with.
        of : {"S", "S/t", "S/z"}
            Of which states, see :meth:`matrix`.

        Returns
        -------
        Tensor
            (sequences, time, n); zero after the end of a sequence.
        """
        if self.meta.store.project is not None:
            if directions is not None or of != STATE:
                raise LargeStatesError(
                    f"Only {self.meta.store} were kept of {self.layer!r}: rec.project() gives "
                    "them, other directions cannot be had any more."
                )
            assert self._kept is not None
            return self._kept
        matrix = self.matrix(of)
        if directions is None:
            raise ShapeError(f"Give directions to project on, (n, {matrix.width}).")
        if directions.dim() != 2:
            raise ShapeError(
                f"directions have shape {tuple(directions.shape)}; one direction is x[None]."
            )
        check_width(directions, matrix.width, "directions")
        return matrix.project(directions)

    def gram(self, of: str = STATE) -> Tensor:
        """(valid tokens, valid tokens), inner products of all valid states.

        Memory grows with the square of the number of tokens; no more than some states are ever
        formed. See :meth:`matrix`.

        Raises
        ------
        LargeStatesError
            If projections were kept.
        """
        return gram(self.matrix(of))

    def pca(self, k: int, *, of: str = STATE, seed: int = 0) -> PCA:
        """The leading principal components of all valid states, formed or not.

        See :meth:`matrix` and :func:`dynprobe.recurrences.principal.principal_components`.

        Raises
        ------
        LargeStatesError
            If projections were kept.
        ShapeError
            If k is not positive.
        NonFiniteStatesError
            If a state holds NaN or Inf.
        """
        states = self.matrix(of)
        self.check_finite()  # says where
        return principal_components(states, k, seed=seed)

    def participation_ratio(
        self, of: str = STATE, *, exact: bool | None = None, seed: int = 0
    ) -> float:
        """Participation ratio of all valid states, formed or not.

        See :meth:`matrix` and :func:`dynprobe.recurrences.participation.participation_ratio`.

        Raises
        ------
        LargeStatesError
            If projections were kept.
        NonFiniteStatesError
            If a state holds NaN or Inf.
        """
        states = self.matrix(of)
        self.check_finite()
        return participation_ratio(states, exact=exact, seed=seed)

    def flat(self) -> Tensor:
        """(valid rows, state_dim): every valid state that was kept, sequence after sequence."""
        if self._kept is None or self.meta.store.project is not None:
            return self.states[self.mask]  # forms them, or says why not
        return self._kept[self.mask]

    def sample(self, n: int, noise: float = 0.0, seed: int = 0) -> Tensor:
        """Draw seeds for a fixed-point search from the valid states.

        Parameters
        ----------
        n : int
            How many; drawn without replacement while there are enough states.
        noise : float
            Standard deviation of Gaussian noise added to every number.
        seed : int
            Seed of the draw; global random state is not touched.

        Returns
        -------
        Tensor
            (n, state_dim).
        """
        count = int(self.lengths.sum())
        if count == 0:
            raise ShapeError("The recording holds no valid step to sample from.")
        generator = torch.Generator().manual_seed(seed)
        if n <= count:
            index = torch.randperm(count, generator=generator)[:n]
        else:
            index = torch.randint(count, (n,), generator=generator)
        drawn = self.valid_rows(index)
        jitter = torch.randn(drawn.shape, generator=generator, dtype=drawn.dtype)
        return drawn + noise * jitter.to(drawn.device)

    def valid_rows(self, index: Tensor) -> Tensor:
        """Some of the rows of :meth:`flat`, (n,) indices -> (n, state_dim)."""
        states = self.flat()
        return states[index.to(states.device)]

    def check_finite(self) -> None:
        """Raise NonFiniteStatesError, naming the first place, if a valid state has NaN or Inf."""
        rows = self._kept if self._kept is not None else self.inputs
        assert rows is not None
        bad = ~rows.isfinite().all(-1) & self.mask
        if bad.any():
            sequence, step = (int(i) for i in bad.nonzero()[0])
            units = (~rows[sequence, step].isfinite()).nonzero().flatten().tolist()
            raise NonFiniteStatesError(
                f"The states of {self.layer!r} hold NaN or Inf at {int(bad.sum())} of "
                f"{int(self.lengths.sum())} steps, first at sequence {sequence}, step {step}, "
                f"units {units[:5]}. The model diverged there; look at its inputs and weights. "
                "The recording itself is kept: rec.states shows it."
            )

    def __len__(self) -> int:
        """Number of sequences."""
        return self.shape[0]
