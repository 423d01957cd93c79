"""Fewer classes, balanced classes, over-long texts."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynprobe.errors import DataError
from dynprobe.tasks import text
from dynprobe.tasks.reduction import reduce_classes
from dynprobe.tasks.stratified import equal_shares

NAMES = ["very bad", "bad", "so so", "good", "very good"]
SIDES = {"negative": ["very bad", "bad"], "positive": ["good", "very good"]}


def test_merged_classes_stand_where_their_first_member_was() -> None:
    reduction = reduce_classes(NAMES, None, SIDES)
    assert reduction.names == ["negative", "so so", "positive"]
    rows, labels = reduction.apply(torch.tensor([4, 0, 2, 1, 3]))
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert labels.tolist() == [2, 0, 1, 0, 2]


def test_kept_classes_are_in_the_order_asked_for() -> None:
    reduction = reduce_classes(NAMES, ["positive", "negative"], SIDES)
    rows, labels = reduction.apply(torch.tensor([4, 0, 2, 1, 3]))
    assert rows.tolist() == [0, 1, 3, 4]
    assert labels.tolist() == [0, 1, 1, 0]


def test_several_labels_lose_those_left_out_and_join_by_or() -> None:
    reduction = reduce_classes(["a", "b", "c"], ["ab"], {"ab": ["a", "b"]})
    labels = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 1]]).bool()
    rows, left = reduction.apply(labels)
    assert rows.tolist() == [0, 1, 2]
    assert left.tolist() == [[True], [True], [False]]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_no_reduction_changes_nothing(labels: list[int]) -> None:
    rows, same = reduce_classes(NAMES, None, None).apply(torch.tensor(labels))
    assert rows.tolist() == list(range(len(labels)))
    assert same.tolist() == labels


@pytest.mark.parametrize(
    ("keep", "merge", "message"),
    [
        (["godo", "bad"], None, "classes names 'godo', which is none of the classes.*'good'"),
        (["bad", "good"], SIDES, "classes names 'bad'"),
        (["bad", "bad"], None, "a name twice"),
        (None, {"x": ["awful"]}, "merge names 'awful'"),
        (None, {"x": ["bad"], "y": ["bad"]}, "merge puts 'bad' into 'x' and 'y'"),
        (None, {"good": ["bad"]}, "merge calls a new class 'good'"),
        (None, {"x": "bad"}, "Pass a list of class names"),
    ],
)
def test_wrong_names_are_refused(keep, merge, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reduce_classes(NAMES, keep, merge)


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(0, 99))
def test_equal_shares_take_as_many_of_each_class_as_the_rarest_has(
    labels: list[int], seed: int
) -> None:
    rows = equal_shares(
        torch.tensor(labels, dtype=torch.int64), torch.Generator().manual_seed(seed)
    )
    chosen = [labels[row] for row in rows.tolist()]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert {chosen.count(k) for k in set(labels)} <= {min(map(labels.count, set(labels or [0])))}


def test_equal_shares_choose_at_random_among_combinations() -> None:
    labels = torch.tensor([[0, 1]] * 3 + [[1, 1]] * 30 + [[0, 0]] * 10).bool()
    drawn = [equal_shares(labels, torch.Generator().manual_seed(s)) for s in range(40)]
    assert all(rows[:3].tolist() == [0, 1, 2] and len(rows) == 9 for rows in drawn)
    assert len(torch.cat(drawn).unique()) == 43


@pytest.fixture
def stars(tmp_path: Path) -> Path:
    """Five classes of 10, 20, ... rows; a row's text has as many words as its class number."""
    path = tmp_path / "stars.csv"
    rows = [f"{k},{' '.join(['w'] * (k + 1))}" for k in range(5) for _ in range(10 * (k + 1))]
    path.write_text("label,text\n" + "\n".join(rows) + "\n")
    return path


def test_classes_of_a_file_are_merged_kept_and_balanced(stars: Path) -> None:
    task = text(
        stars, merge={"low": ["0", "1"], "high": ["3", "4"]}, classes=["low", "high"], balanced=True
    )
    assert task.class_names == ["low", "high"]
    assert {p: torch.bincount(s.labels).tolist() for p, s in task.splits.items()} == {
        "train": [24, 24],
        "validation": [3, 3],
        "test": [3, 3],
    }
    for split in task.splits.values():
        assert [len(t.split()) > 3 for t in split.texts] == split.labels.bool().tolist()
    again = text(
        stars, merge={"low": ["0", "1"], "high": ["3", "4"]}, classes=["low", "high"], balanced=True
    )
    assert again.split("train").texts == task.split("train").texts


def test_too_few_classes_are_refused(stars: Path) -> None:
    with pytest.raises(ValueError, match="leave 1 of the classes.*classes are: 0, 1, 2, 3, 4"):
        text(stars, classes=["0"])
    with pytest.raises(ValueError, match="classes names '9'"):
        text(stars, classes=["0", "9"])


def test_overlong_texts_are_cut_or_dropped_and_named(stars: Path) -> None:
    whole = {"validation": 0.0, "test": 0.0}
    cut, dropped = (
        text(stars, max_length=4, overlong=overlong, **whole) for overlong in ("cut", "drop")
    )
    assert (cut.n_cut, cut.n_dropped) == (50, 0)
    assert (dropped.n_cut, dropped.n_dropped) == (0, 50)
    assert len(cut.split("train")) == 150
    assert len(dropped.split("train")) == 100
    expected = [f"{stars}, line {k}" for k in range(102, 152)]
    assert cut.split("train").cut == dropped.split("train").dropped == expected
    assert cut.split("train").dropped == dropped.split("train").cut == []
    assert max(len(tokens) for tokens in dropped.split("train").tokens) == 4
    assert dropped.class_names == cut.class_names == ["0", "1", "2", "3", "4"]
    with pytest.raises(ValueError, match=r"overlong is 'keep'\. Pass 'cut' or 'drop'"):
        text(stars, overlong="keep")  # type: ignore[arg-type]


def test_a_source_of_which_nothing_is_left_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("label,text\n0,a b\n1,a b\n")
    with pytest.raises(DataError, match=r"t\.csv: no text is left for training"):
        text(path, max_length=1, overlong="drop", validation=0, test=0)
    (tmp_path / "train.csv").write_text("label,text\n0,a b\n1,a b\n")
    (tmp_path / "classes.txt").write_text("x\ny\nz\nw\n")
    with pytest.raises(DataError, match="no text is left for training"):
        text(tmp_path, classes=["z", "w"], validation=0, test=0)
