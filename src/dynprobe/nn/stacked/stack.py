"""Several recurrent classifiers as one module, whose parameters have the model first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dynprobe.nn.classifier import RNNClassifier
from dynprobe.nn.stacked.gru import GRU
from dynprobe.nn.stacked.lstm import LSTM
from dynprobe.nn.stacked.reset_first_gru import ResetFirstGRU
from dynprobe.nn.stacked.rnn import RNN
from dynprobe.nn.stacked.run import Pool, run_over_time
from dynprobe.nn.stacked.ugrnn import UGRNN
from dynprobe.nn.stacked.unrolled import Unrolled

UNROLLED: dict[str, type[Unrolled]] = {
    "gru": GRU,
    "gru_reset_first": ResetFirstGRU,
    "lstm": LSTM,
    "rnn": RNN,
    "ugrnn": UGRNN,
}


class Stack(nn.Module):
    """Networks of one architecture side by side: each step is one batched product for all.

    Parameters are those of :class:`dynprobe.nn.RNNClassifier` with the models as first dimension
    and underscores for dots: ``h0`` ``(models, 1, 1, hidden)``, ``rnn_weight_hh_l0``
    ``(models, gates * hidden, hidden)``, ``readout_weight`` and so on, in its order.

    Words are one-hot: a word's input weights are looked up, not multiplied. The pass over time has
    a backward pass of its own, which gives no second derivatives.

    Parameters
    ----------
    networks
        At least one, all of the same sizes, cell, readout, dtype and device, without an embedding.
        Their weights are copied.

    Raises
    ------
    ValueError
        If there is none, they differ, or one has a word embedding.
    """

    def __init__(self, networks: Sequence[RNNClassifier]) -> None:
        super().__init__()
        if not networks:
            raise ValueError("There is no network to stack. Pass at least one.")
        first = networks[0]
        if any(network.emb is not None for network in networks):
            raise ValueError(
                "A stack looks words up as one-hot inputs, and a network with a word embedding was "
                "given. Build the networks with embedding_size=None, or train them one by one."
            )
        settings = _settings(first)
        for index, network in enumerate(networks):
            other = _settings(network)
            if wrong := [name for name in settings if settings[name] != other[name]]:
                raise ValueError(
                    f"Network {index} has {wrong[0]} {other[wrong[0]]}, the first "
                    f"{settings[wrong[0]]}. A stack holds networks of one architecture."
                )
        self.n_models = len(networks)
        self.cell = first.cell
        self.vocabulary_size, self.n_classes = first.vocabulary_size, first.n_classes
        self.padding_idx, self.readout_state = first.padding_idx, first.readout_state
        self._arguments = {k: v for k, v in settings.items() if k not in ("dtype", "device")}
        self._names = [name for name, _ in first.named_parameters()]
        for name in self._names:
            copies = [network.get_parameter(name).detach() for network in networks]
            self.register_parameter(name.replace(".", "_"), nn.Parameter(torch.stack(copies)))
        self.forget_buffers()

    @classmethod
    def of(cls, networks: Iterable[RNNClassifier]) -> Stack:
        """Stack copies of `networks`."""
        return cls(list(networks))

    @classmethod
    def seeded(
        cls, seeds: Iterable[int], vocabulary_size: int, n_classes: int, **arguments: Any
    ) -> Stack:
        """Build one network for each seed of initial weights.

        Parameters
        ----------
        seeds
            Member i is ``RNNClassifier(..., generator=torch.Generator().manual_seed(seeds[i]))``.
        vocabulary_size, n_classes, arguments
            Of :class:`dynprobe.nn.RNNClassifier`.
        """
        return cls.of(
            RNNClassifier(
                vocabulary_size,
                n_classes,
                generator=torch.Generator().manual_seed(seed),
                **arguments,
            )
            for seed in seeds
        )

    def __len__(self) -> int:
        return self.n_models

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._weight("h0").device

    def member(self, index: int) -> RNNClassifier:
        """Return network `index`, counted from 0, with copies of its weights.

        Raises
        ------
        IndexError
            If there is no such network.
        """
        if not 0 <= index < self.n_models:
            raise IndexError(
                f"There is no network {index} in a stack of {self.n_models}. "
                f"Pass 0 to {self.n_models - 1}."
            )
        network = RNNClassifier(**self._arguments).to(self._weight("h0"))
        weights = {name: self._weight(name)[index].detach() for name in self._names}
        network.load_state_dict(weights)
        return network

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Classify sequences by their last valid state.

        Parameters
        ----------
        tokens
            Word ids, int64, ``(models, batch, time)``: each network has its own sequences. What
            stands after a sequence's end has no effect.
        lengths
            Number of valid words, ``(models, batch)``, from 1 to time; None means all of them.

        Returns
        -------
        Tensor
            Logits, ``(models, batch, n_classes)``.

        Raises
        ------
        ValueError
            If a shape does not fit, or a word or length is out of range.
        """
        whole = self.check(tokens, lengths)
        return self.classify(tokens, None if whole else lengths)

    def classify(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """As :meth:`forward`, of arguments that :meth:`check` let pass."""
        final = run_over_time(
            self._pool,
            self._rows(tokens),
            None if lengths is None else (lengths - 1).to(tokens.device),
            self._table(),
            self._recurrent_weight(),
            self._initial(),
        )
        state = final[0] if self.readout_state == "h" else torch.cat(final, -1)
        logits = torch.bmm(state, self._weight("readout.weight").transpose(1, 2))
        if "readout.bias" in self._names:
            logits = logits + self._weight("readout.bias")[:, None]
        return logits

    def check(self, tokens: Tensor, lengths: Tensor | None = None) -> bool:
        """Return whether every sequence has all words.

        Raises
        ------
        ValueError
            Where a shape does not fit, or a word or length is out of range.
        """
        if tokens.dim() != 3 or len(tokens) != self.n_models or tokens.numel() == 0:
            raise ValueError(
                f"tokens have shape {tuple(tokens.shape)}, and a stack of {self.n_models} takes "
                f"({self.n_models}, batch, time), at least one of each."
            )
        low, high = (int(x) for x in tokens.aminmax())
        if low < 0 or high >= self.vocabulary_size:
            raise ValueError(
                f"tokens are {low} to {high}, and the vocabulary has the ids 0 to "
                f"{self.vocabulary_size - 1}."
            )
        if lengths is None:
            return True
        if lengths.shape != tokens.shape[:2]:
            raise ValueError(
                f"lengths have shape {tuple(lengths.shape)}, and the tokens are for "
                f"{tuple(tokens.shape[:2])} sequences."
            )
        low, high = (int(x) for x in lengths.aminmax())
        if low < 1 or high > tokens.shape[2]:
            raise ValueError(f"lengths are {low} to {high}. Pass 1 to {tokens.shape[2]}.")
        return low == tokens.shape[2]

    def forget_buffers(self) -> None:
        """Let the next pass take fresh memory."""
        self._pool = Pool(UNROLLED[self.cell])

    @torch.no_grad()
    def states(self, tokens: Tensor) -> Tensor:
        """Return the state after every word, ``(models, batch, time, state_dim)``.

        The state of an LSTM is [h, c]. After a sequence's end states mean nothing.
        """
        self.check(tokens)
        rows, weight = self._rows(tokens), self._recurrent_weight()
        unrolled = self._pool.take(rows, weight)
        unrolled.forward(self._table(), rows, weight, self._initial())
        states = torch.cat([part[:, 1:] for part in unrolled.states], -1).transpose(1, 2)
        self._pool.give(unrolled)
        return states

    def _weight(self, name: str) -> Tensor:
        # Not get_parameter: torch.func.functional_call puts plain tensors in a parameter's place.
        weight: Tensor = getattr(self, name.replace(".", "_"))
        return weight

    def _in_layer(self, kind: str) -> list[Tensor]:
        """Parameters of the recurrent layer whose names hold `kind`."""
        return [self._weight(n) for n in self._names if n.startswith("rnn.") and kind in n]

    def _recurrent_weight(self) -> Tensor:
        return self._in_layer("weight_hh")[0]

    def _initial(self) -> list[Tensor]:
        return [self._weight(name).squeeze(1) for name in ("h0", "c0") if name in self._names]

    def _table(self) -> Tensor:
        """What each word adds to the pre-activations, ``(models, words, columns)``."""
        inputs = self._in_layer("weight_ih")[0].transpose(1, 2)
        if self.padding_idx is not None:
            words = torch.arange(self.vocabulary_size, device=inputs.device)
            inputs = inputs.masked_fill((words == self.padding_idx)[:, None], 0.0)
        return UNROLLED[self.cell].table(inputs, self._in_layer("bias"))

    def _rows(self, tokens: Tensor) -> Tensor:
        """Rows of the table, all models' below one another, ``(models, time, batch)``."""
        first = torch.arange(self.n_models, device=tokens.device) * self.vocabulary_size
        return (tokens.transpose(1, 2) + first[:, None, None]).contiguous()


def _settings(network: RNNClassifier) -> dict[str, Any]:
    """What networks of a stack have in common: the arguments that rebuild one, and its kind."""
    return {
        "vocabulary_size": network.vocabulary_size,
        "n_classes": network.n_classes,
        "cell": network.cell,
        "hidden_size": network.h0.shape[2],
        "readout_bias": network.readout.bias is not None,
        "readout_state": network.readout_state,
        "padding_idx": network.padding_idx,
        "dtype": network.h0.dtype,
        "device": network.h0.device,
    }
