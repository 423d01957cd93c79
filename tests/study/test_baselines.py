"""What a bag of words learns, and the spectrum of a few points."""

from pathlib import Path

import pytest
import torch

from dynprobe.dimension.spectrum import centred_spectrum
from dynprobe.study.bag_of_words import bag_of_words
from dynprobe.study.summed_embeddings import summed_embeddings
from dynprobe.tasks import text


def test_bag_of_words_learns_words_and_cannot_learn_their_order(tmp_path: Path) -> None:
    by_word, by_order = tmp_path / "word.csv", tmp_path / "order.csv"
    by_word.write_text(
        "label,text\n" + "".join(f"{k % 3},x {'abc'[k % 3]}{k % 3} y{k}\n" for k in range(150))
    )
    by_order.write_text(
        "label,text\n" + "".join(f"{k % 2},{('a b', 'b a')[k % 2]}\n" for k in range(150))
    )
    result = bag_of_words(text(by_word))
    assert set(result.accuracy) == {"train", "validation", "test"}
    assert result.accuracy["test"] == 1
    assert result.word_logits.shape[1] == 3
    # Softmax logits matter up to a common shift: three classes leave two dimensions.
    assert result.spectrum.variance_ratios[2] < 1e-9
    ordered = bag_of_words(text(by_order, validation=0))
    assert ordered.accuracy["test"] < 0.8
    assert set(ordered.accuracy) == {"train", "test"}


def test_two_classes_give_opposite_word_logits(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("label,text\n" + "".join(f"{k % 2},{'ab'[k % 2]}\n" for k in range(60)))
    result = bag_of_words(text(path))
    assert result.word_logits.shape == (2, 2)
    assert torch.equal(result.word_logits[:, 0], -result.word_logits[:, 1])
    # "a", of class 0, is the first word in the vocabulary.
    assert result.word_logits[0, 0] > 0
    assert result.to_dict()["spectrum"]["n_components_95"] == 1


def test_spectrum_of_known_points() -> None:
    points = torch.tensor([[2.0, 0, 5], [-2, 0, 5], [0, 1, 5], [0, -1, 5]])
    spectrum = centred_spectrum(points)
    torch.testing.assert_close(
        spectrum.variance_ratios, torch.tensor([0.8, 0.2, 0.0], dtype=torch.float64)
    )
    assert spectrum.participation_ratio == pytest.approx(1 / 0.68)
    assert spectrum.n_components_95 == 2
    assert spectrum.to_dict()["variance_ratios"] == pytest.approx([0.8, 0.2, 0])


def test_coinciding_points_have_no_dimension() -> None:
    spectrum = centred_spectrum(torch.ones(3, 2))
    assert spectrum.to_dict() == {
        "variance_ratios": [0, 0],
        "participation_ratio": 0,
        "n_components_95": 0,
    }


def themes(path):
    """Two classes, each with a word of its own."""
    lines = [f"{k % 2},{('goal', 'vote')[k % 2]} {'the ' * 9}\n" for k in range(300)]
    path.write_text("label,text\n" + "".join(lines))
    return text(path)


def test_summed_embeddings_tell_classes_apart_by_their_words(tmp_path):
    task = themes(tmp_path / "themes.csv")
    told = []
    found = summed_embeddings(task, steps=150, progress=lambda *step: told.append(step))
    assert found.accuracy == 1
    by_word = dict(zip(task.vocabulary[-3:], found.word_logits.tolist(), strict=True))
    assert by_word["goal"][0] > by_word["goal"][1]
    assert by_word["vote"][1] > by_word["vote"][0]
    # two classes: one component, but for what both classes have in common
    assert float(found.spectrum.variance_ratios[0]) > 0.9
    assert [(done, planned) for done, planned, _ in told] == [(i + 1, 150) for i in range(150)]
    assert told[-1][2] < told[0][2]


def test_summed_embeddings_repeat_from_a_seed(tmp_path):
    task = themes(tmp_path / "themes.csv")
    state = torch.get_rng_state()
    first, again = (summed_embeddings(task, steps=20, seed=3) for _ in range(2))
    assert torch.equal(first.word_logits, again.word_logits)
    assert not torch.equal(first.word_logits, summed_embeddings(task, steps=20, seed=4).word_logits)
    assert torch.equal(state, torch.get_rng_state())


def test_summed_embeddings_need_a_test_part_and_one_label(tmp_path):
    themes(tmp_path / "themes.csv")
    with pytest.raises(ValueError, match=r"0 to test on.*Pass a task with both parts"):
        summed_embeddings(text(tmp_path / "themes.csv", test=0), steps=1)
