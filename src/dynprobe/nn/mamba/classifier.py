"""A Mamba-1 text classifier: words in, one decision at the last word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dynprobe.nn.mamba.initialisation import normal
from dynprobe.nn.mamba.mixer import NORM_EPS, MambaBlock

if TYPE_CHECKING:
    from dynprobe.nn.mamba.huggingface import TransformersMambaClassifier


class MambaClassifier(nn.Module):
    """Blocks of Mamba-1 whose last valid output is read out linearly.

    Embedding, blocks, a final norm, and ``logits = W norm(h_T)`` without a bias, as the linear
    transformer of the same comparison is read out. The names of all parameters but `readout` are
    those of MambaModel in Hugging Face transformers.

    Parameters
    ----------
    vocabulary_size : int
        Number of words, special ones included.
    n_classes : int
        Number of logits.
    hidden_size : int
        Width of embeddings and blocks.
    layers : int
        Number of blocks.
    state_size, conv_kernel, expand : int
        See :class:`~dynprobe.nn.MambaMixer`.
    dropout : float
        Of embeddings and of what each block adds.
    padding_idx : int, optional
        Id of a padding word, whose embedding stays zero.
    generator : torch.Generator, optional
        Source of the initial weights, drawn as transformers draws them; None is a fresh generator
        seeded with 0. The global random state is left alone.

    Raises
    ------
    ValueError
        If a size is below 1.
    """

    def __init__(
        self,
        vocabulary_size: int,
        n_classes: int,
        *,
        hidden_size: int = 64,
        layers: int = 1,
        state_size: int = 16,
        conv_kernel: int = 4,
        expand: int = 2,
        dropout: float = 0.0,
        padding_idx: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("vocabulary_size", vocabulary_size),
            ("n_classes", n_classes),
            ("layers", layers),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}. Pass at least 1.")
        generator = generator or torch.Generator().manual_seed(0)
        # torch's layers draw their first weights, replaced below, from the global random state.
        with torch.random.fork_rng(devices=[]):
            self.embeddings = nn.Embedding(vocabulary_size, hidden_size, padding_idx=padding_idx)
            self.readout = nn.Linear(hidden_size, n_classes, bias=False)
        normal(self.embeddings, generator)
        normal(self.readout, generator)
        self.layers = nn.ModuleList(
            MambaBlock(
                hidden_size,
                state_size=state_size,
                conv_kernel=conv_kernel,
                expand=expand,
                dropout=dropout,
                generator=generator,
            )
            for _ in range(layers)
        )
        self.norm_f = nn.RMSNorm(hidden_size, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Classify sequences by the output at their last valid word.

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
        hidden = self.dropout(self.embeddings(input_ids))
        for block in self.layers:
            hidden = block(hidden)
        logits: Tensor = self.readout(last_valid(self.norm_f(hidden), lengths))
        return logits

    def to_transformers(self) -> TransformersMambaClassifier:
        """Return the same classifier around transformers' MambaModel, with a copy of the weights.

        It computes the same up to rounding, in evaluation mode also with dropout, which the model
        of transformers does not have.
        """
        from dynprobe.nn.mamba.huggingface import to_transformers

        return to_transformers(self)

    @classmethod
    def from_transformers(cls, model: TransformersMambaClassifier) -> MambaClassifier:
        """Return the classifier of this class with a copy of the weights: the way back.

        Parameters
        ----------
        model
            A MambaModel of transformers beside its readout,
            ``TransformersMambaClassifier(model, readout)``.

        Raises
        ------
        ValueError
            If the configuration asks for what this class does not have; says for what.
        """
        from dynprobe.nn.mamba.huggingface import from_transformers

        return from_transformers(model)


def last_valid(hidden: Tensor, lengths: Tensor | None) -> Tensor:
    """The vector of each sequence's last valid step: (batch, time, width) -> (batch, width)."""
    if lengths is None:
        return hidden[:, -1]
    last = (lengths - 1).to(hidden.device)[:, None, None]
    return hidden.gather(1, last.expand(-1, 1, hidden.shape[2])).squeeze(1)
