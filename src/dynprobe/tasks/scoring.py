"""Loss and correctness of logits, by the shape of the labels: one class, or several labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss of each sequence, ``(sequences,)``.

    Parameters
    ----------
    logits
        ``(sequences, outputs)``.
    labels
        Class indices, int64, ``(sequences,)``: softmax cross-entropy. Or one bool per output,
        ``(sequences, outputs)``: sigmoid cross-entropy, the mean over outputs.
    """
    if labels.dim() == 1:
        return cross_entropy(logits, labels, reduction="none")
    wanted = labels.to(logits.dtype)
    return binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(dim=1)


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each sequence is classified correctly, bool, ``(sequences,)``.

    The class of the largest logit is the label; of several labels all must be right, a label
    being given where its logit is at least 0.
    """
    if labels.dim() == 1:
        return logits.argmax(dim=1) == labels
    return ((logits >= 0) == labels.bool()).all(dim=1)
