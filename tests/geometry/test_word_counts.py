"""Word counts of classes and labels, and how alike two tables of word pushes are."""

from __future__ import annotations

import pytest
import torch

from dynprobe.dimension.spectrum import centred_spectrum
from dynprobe.geometry.word_counts import class_word_frequencies, word_agreement
from dynprobe.tasks import categorical


def predicted(*args):
    return centred_spectrum(class_word_frequencies(*args))


def test_word_frequencies_are_averaged_over_texts_not_words() -> None:
    tokens = [torch.tensor([0, 0, 0, 1]), torch.tensor([2]), torch.tensor([2, 1])]
    spectrum = predicted(tokens, torch.tensor([0, 1, 1]), 3, 2)
    means = torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.25, 0.75]])
    expected = centred_spectrum(means)
    torch.testing.assert_close(spectrum.variance_ratios, expected.variance_ratios)
    assert spectrum.n_components_95 == 1


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_the_counting_task_predicts_one_dimension_less_than_classes(n_classes: int) -> None:
    task = categorical(n_classes)
    batch = task.sample(4000, seed=0)
    spectrum = predicted(batch.sequences(), batch.labels, len(task.vocabulary), n_classes)
    assert spectrum.participation_ratio == pytest.approx(n_classes - 1, rel=0.03)
    assert spectrum.n_components_95 == n_classes - 1


def test_texts_that_do_not_fit_are_refused() -> None:
    one = [torch.tensor([0])]
    with pytest.raises(ValueError, match="1 texts and 2 labels"):
        class_word_frequencies(one, torch.tensor([0, 1]), 2, 2)
    with pytest.raises(ValueError, match=r"\[1, 0\] for n_classes=2"):
        class_word_frequencies(one, torch.tensor([0]), 2, 2)
    with pytest.raises(ValueError, match="n_classes=2"):
        class_word_frequencies(one * 3, torch.tensor([0, 1, 2]), 2, 2)
    empty = torch.tensor([], dtype=torch.int64)
    with pytest.raises(ValueError, match="Text 1 has no words"):
        class_word_frequencies([*one, empty], torch.tensor([0, 1]), 2, 2)


def test_of_labels_only_what_tells_them_apart_is_a_dimension():
    """Two labels with a word each, and a word that all texts share."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(400, 2, generator=generator) < 0.5
    texts = []
    for a, b in labels.tolist():
        texts.append(torch.tensor([2, 2] + [0] * a + [1] * b))
    points = class_word_frequencies(texts, labels, 3, 2)
    assert points.shape == (4, 3)
    torch.testing.assert_close(points[:2], -points[2:])
    spectrum = centred_spectrum(points)
    assert spectrum.participation_ratio == pytest.approx(2, abs=0.35)
    assert spectrum.variance_ratios[2] < 1e-12
    with pytest.raises(ValueError, match="without each label"):
        class_word_frequencies(texts, torch.stack([labels[:, 0], labels[:, 0] | True], 1), 3, 2)


def test_agreement_of_word_pushes():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    counts = torch.randint(1, 100, (50,), generator=generator)
    same, null = word_agreement(a, 3 * a + 7 + a.sum(1, keepdim=True), counts, seed=0)
    assert same == pytest.approx(1)
    assert null < 0.7
    opposite, _ = word_agreement(a, -a, counts, seed=0)
    assert opposite == pytest.approx(-1)
    b = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    other, null = word_agreement(a, b, counts, seed=0)
    assert abs(other) < null
