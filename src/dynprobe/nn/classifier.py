"""A recurrent text classifier: words in, one decision at the last word."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.utils.rnn import pack_padded_sequence

from dynprobe.nn.initialisation import INITIALISATIONS
from dynprobe.nn.loop import CellLoop
from dynprobe.nn.reset_first_gru import ResetFirstGRU
from dynprobe.nn.ugrnn import UGRNN

CELLS: dict[str, Callable[[int, int], nn.Module]] = {
    "gru": partial(nn.GRU, batch_first=True),
    "gru_reset_first": ResetFirstGRU,
    "lstm": partial(nn.LSTM, batch_first=True),
    "rnn": partial(nn.RNN, batch_first=True),
    "ugrnn": UGRNN,
}


class RNNClassifier(nn.Module):
    """One recurrent layer whose last valid state is read out linearly.

    This is the network of Aitken et al. 2020 (arXiv 2010.15114): a trainable initial
    state, ``h_t = F(h_{t-1}, x_t)``, and ``logits = W h_T`` with an optional bias.

    Submodules are `emb` (None for one-hot inputs), `rnn` (`torch.nn.GRU`, `LSTM`, `RNN`,
    `dynprobe.nn.UGRNN` or `ResetFirstGRU`, batch first) and `readout` (`torch.nn.Linear`);
    parameters `h0` and, for an LSTM, `c0`, each ``(1, 1, hidden_size)``, start at zero and are
    trained.

    Parameters
    ----------
    vocabulary_size
        Number of words, special ones included.
    n_classes
        Number of classes.
    cell
        ``"gru"``, ``"gru_reset_first"``, ``"lstm"``, ``"rnn"`` or ``"ugrnn"``.
    hidden_size
        Number of units.
    embedding_size
        Size of a trained word embedding. None feeds one-hot words without an embedding, as the
        reference networks on synthetic tasks do.
    readout_bias
        Whether the readout has a bias. The reference has none.
    readout_state
        ``"h"`` reads the hidden state; ``"hc"``, for an LSTM, reads hidden and cell state side
        by side, as the reference LSTM does.
    dropout
        Probability of dropping an embedding coordinate while training; needs an embedding.
    generator
        Source of the initial weights; None is a fresh generator seeded with 0. Building a model
        never touches the global random state.
    initialisation
        ``"reference"`` or ``"torch"``; see `dynprobe.nn.initialisation`.
    padding_idx
        Id of a padding word, which is fed as the zero vector; None where there is none.

    Raises
    ------
    ValueError
        If an argument is out of range or two of them do not fit together.
    """

    def __init__(
        self,
        vocabulary_size: int,
        n_classes: int,
        *,
        cell: str = "gru",
        hidden_size: int = 128,
        embedding_size: int | None = None,
        readout_bias: bool = False,
        readout_state: Literal["h", "hc"] = "h",
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        initialisation: Literal["reference", "torch"] = "reference",
        padding_idx: int | None = None,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"There is no cell {cell!r}. Pass one of {', '.join(CELLS)}.")
        if initialisation not in INITIALISATIONS:
            raise ValueError(
                f"There is no initialisation {initialisation!r}. "
                f"Pass one of {', '.join(INITIALISATIONS)}."
            )
        if readout_state not in ("h", "hc"):
            raise ValueError(f"readout_state is {readout_state!r}. Pass 'h' or 'hc'.")
        if readout_state == "hc" and cell != "lstm":
            raise ValueError(
                f"readout_state='hc' reads a cell state, which a {cell} does not have. "
                "Pass readout_state='h' or cell='lstm'."
            )
        if dropout and embedding_size is None:
            raise ValueError(
                f"dropout is {dropout} but there is no embedding to drop from. "
                "Pass embedding_size, or dropout=0."
            )
        for name, value in (
            ("vocabulary_size", vocabulary_size),
            ("n_classes", n_classes),
            ("hidden_size", hidden_size),
            ("embedding_size", 1 if embedding_size is None else embedding_size),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}. Pass at least 1.")

        self.cell = cell
        self.vocabulary_size = vocabulary_size
        self.n_classes = n_classes
        self.padding_idx = padding_idx
        self.readout_state = readout_state
        input_size = vocabulary_size if embedding_size is None else embedding_size
        # torch's layers draw their first weights, replaced below, from the global random state.
        with torch.random.fork_rng(devices=[]):
            self.emb = (
                None
                if embedding_size is None
                else nn.Embedding(vocabulary_size, embedding_size, padding_idx=padding_idx)
            )
            self.rnn = CELLS[cell](input_size, hidden_size)
            self.readout = nn.Linear(hidden_size * len(readout_state), n_classes, bias=readout_bias)
        self.dropout = nn.Dropout(dropout)
        self.h0 = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.c0 = nn.Parameter(torch.zeros(1, 1, hidden_size)) if cell == "lstm" else None
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        INITIALISATIONS[initialisation](self, generator)

    def forward(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Classify sequences by their last valid state.

        Parameters
        ----------
        input_ids
            Word ids, int64, ``(batch, time)``. What stands after a sequence's end has no effect.
        lengths
            Number of valid words, ``(batch,)``, from 1 to time; None means all of them.

        Returns
        -------
        Tensor
            Logits, ``(batch, n_classes)``.
        """
        inputs = self._inputs(input_ids)
        if lengths is None or bool((lengths == input_ids.shape[1]).all()):
            outputs, final = self.rnn(inputs, self._initial_state(len(input_ids)))
            state = outputs[:, -1]
        elif self.readout_state == "h":
            # Cheaper than packing, which would have to sort the batch by length.
            outputs, final = self.rnn(inputs, self._initial_state(len(input_ids)))
            last = (lengths - 1)[:, None, None].expand(-1, 1, outputs.shape[2])
            state = outputs.gather(1, last).squeeze(1)
        else:
            # Only a packed sequence leaves the cell state of each sequence's own last step.
            packed = pack_padded_sequence(
                inputs, lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            _, final = self.rnn(packed, self._initial_state(len(input_ids)))
            state = final[0][0]
        if self.readout_state == "hc":
            state = torch.cat([state, final[1][0]], dim=1)
        logits: Tensor = self.readout(state)
        return logits

    def _inputs(self, input_ids: Tensor) -> Tensor:
        """Turn ids ``(batch, time)`` into what the recurrence reads ``(batch, time, input)``."""
        if self.emb is not None:
            embedded: Tensor = self.dropout(self.emb(input_ids))
            return embedded
        inputs = one_hot(input_ids, self.vocabulary_size).to(self.h0.dtype)
        if self.padding_idx is not None:
            inputs[..., self.padding_idx] = 0.0
        return inputs

    def _initial_state(self, batch: int) -> Tensor | tuple[Tensor, Tensor]:
        """Return the trained initial state for each of `batch` sequences, as the layer takes it."""
        h0 = self.h0.expand(-1, batch, -1).contiguous()
        if isinstance(self.rnn, CellLoop):
            return h0[0]
        if self.c0 is None:
            return h0
        return h0, self.c0.expand(-1, batch, -1).contiguous()
