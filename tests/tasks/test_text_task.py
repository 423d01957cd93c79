"""Text data sets: words, parts, batches."""

from pathlib import Path

import pytest
import torch

from dynprobe.errors import DataError
from dynprobe.tasks import TextTask, text
from dynprobe.tasks.stratified import stratified_parts
from dynprobe.tasks.words import frequent_words, split_words, word_ids

WORDS = ["red", "orange", "yellow", "green", "blue", "violet"]


def write(path: Path, rows: list[tuple[str, str]], header: str = "label,text") -> Path:
    path.write_text("\n".join([header, *(f"{label},{words}" for label, words in rows)]) + "\n")
    return path


def rows_of(n: int, n_classes: int = 2) -> list[tuple[str, str]]:
    """Rows of different lengths whose first word is their number."""
    return [(str(k % n_classes), f"n{k} " + " ".join(WORDS[: k % 6])) for k in range(n)]


@pytest.fixture
def task(tmp_path: Path) -> TextTask:
    return text(write(tmp_path / "colours.csv", rows_of(100)))


def test_words_are_lower_cased_and_keep_inner_apostrophes() -> None:
    assert split_words("Don't PANIC, it's 42% over-rated… naïve") == [
        "don't", "panic", "it's", "42", "over", "rated", "naïve",
    ]  # fmt: skip


def test_vocabulary_is_by_frequency_then_alphabet_and_capped() -> None:
    texts = ["b b b", "a c", "a c", "z"]
    assert frequent_words(texts, 5) == ["<pad>", "<unk>", "b", "a", "c"]


def test_unknown_words_and_empty_texts_become_unk() -> None:
    assert word_ids("b who b", {"b": 2}).tolist() == [2, 1, 2]
    assert word_ids("?!", {"b": 2}).tolist() == [1]


def test_parts_are_disjoint_complete_stratified_and_decided_by_the_seed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [("0" if k < 70 else "1", f"n{k}") for k in range(100)])
    task = text(path, validation=0.2, test=0.1)
    parts = [task.split(name) for name in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [70, 20, 10]
    assert sorted(words for part in parts for words in part.texts) == sorted(
        f"n{k}" for k in range(100)
    )
    assert [torch.bincount(part.labels).tolist() for part in parts] == [[49, 21], [14, 6], [7, 3]]
    again = text(path, validation=0.2, test=0.1)
    other = text(path, validation=0.2, test=0.1, seed=1)
    assert again.split("test").texts == task.split("test").texts
    assert other.split("test").texts != task.split("test").texts


def test_small_classes_are_in_every_part_from_three_rows_on() -> None:
    labels = torch.tensor([0] * 2 + [1] * 3 + [2] * 20)
    kept, one, two = stratified_parts(labels, (0.1, 0.1), torch.Generator().manual_seed(0))
    assert torch.bincount(labels[kept]).tolist() == [2, 1, 16]
    assert torch.bincount(labels[one], minlength=3).tolist() == [0, 1, 2]
    assert torch.bincount(labels[two], minlength=3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("fractions", [(0.7, 0.2), (0.9, 0.05), (0.05, 0.9), (0.5, 0.5)])
def test_large_parts_leave_a_row_of_every_class(fractions: tuple[float, float]) -> None:
    labels = torch.tensor([0] * 100 + [1] * 3 + [2] * 9)
    parts = stratified_parts(labels, fractions, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(parts).tolist()) == list(range(112))
    for part in parts:
        assert bool((torch.bincount(labels[part], minlength=3) >= 1).all())


def test_vocabulary_comes_from_the_training_part_only(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", rows_of(12))
    write(tmp_path / "test.csv", [("0", "unseen red"), ("1", "unseen")])
    task = text(tmp_path)
    assert "unseen" not in task.vocabulary
    assert task.vocabulary[:2] == ["<pad>", "<unk>"]
    first = task.split("test").tokens[0]
    assert [task.vocabulary[i] for i in first.tolist()] == ["<unk>", "red"]
    assert torch.equal(task.encode("unseen red"), first)


def test_folder_with_every_part_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "train.csv", rows_of(10))
    write(folder / "dev.csv", rows_of(4))
    (folder / "test.tsv").write_text('label\ttext\n1\tsay "red, now\n')
    (folder / "classes.txt").write_text("warm\ncold\nneither\n")
    task = text(folder)
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [10, 4, 1]
    assert task.split("train").texts == [words for _, words in rows_of(10)]
    assert task.split("test").texts == ['say "red, now']
    assert task.class_names == ["warm", "cold", "neither"]
    assert task.n_classes == 3
    assert task.name == "data"


def test_integer_labels_are_sorted_as_numbers(tmp_path: Path) -> None:
    rows = [(label, "red") for label in ("10", "2", "-1", "2", "10", "-1")]
    task = text(write(tmp_path / "t.csv", rows), validation=0, test=0)
    assert task.class_names == ["-1", "2", "10"]
    assert task.split("train").labels.tolist() == [2, 1, 0, 1, 2, 0]


def test_named_labels_are_sorted_or_in_the_order_of_the_class_file(tmp_path: Path) -> None:
    rows = [(label, "red") for label in ("sun", "moon", "sun")]
    write(tmp_path / "train.csv", rows)
    task = text(tmp_path, validation=0, test=0)
    assert task.class_names == ["moon", "sun"]
    assert task.split("train").labels.tolist() == [1, 0, 1]
    (tmp_path / "classes.txt").write_text("sun\nmoon\n")
    assert text(tmp_path, validation=0, test=0).split("train").labels.tolist() == [0, 1, 0]


def test_long_texts_are_cut_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows_of(60))
    task = text(path, max_length=3)
    assert max(len(tokens) for part in task.splits.values() for tokens in part.tokens) == 3
    assert task.n_cut == sum(k % 6 + 1 > 3 for k in range(60))
    assert text(path).n_cut == 0


def test_quoted_fields_may_hold_commas_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('\ufefflabel,text\n0,"red, ""dark""\nred"\n\n1,blue\n', encoding="utf-8")
    assert text(path, validation=0, test=0).split("train").texts == ['red, "dark"\nred', "blue"]


@pytest.mark.parametrize("bucket", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_hold_every_row_once_with_its_label(
    task: TextTask, bucket: bool, shuffle: bool
) -> None:
    split = task.split("train")
    generator = torch.Generator().manual_seed(0) if shuffle else None
    batches = list(split.batches(16, generator=generator, bucket=bucket))
    assert [len(b) for b in batches].count(16) == len(split) // 16
    found = [
        (tuple(tokens.tolist()), int(label))
        for batch in batches
        for tokens, label in zip(batch.sequences(), batch.labels, strict=True)
    ]
    expected = [
        (tuple(tokens.tolist()), int(label))
        for tokens, label in zip(split.tokens, split.labels, strict=True)
    ]
    assert sorted(found) == sorted(expected)
    assert (found == expected) is (not shuffle and not bucket)
    for batch in batches:
        padding = torch.arange(batch.tokens.shape[1]) >= batch.lengths[:, None]
        assert (batch.tokens[padding] == 0).all()
        assert (batch.tokens[~padding] != 0).all()


def test_bucketing_saves_padding(task: TextTask) -> None:
    def steps(bucket: bool) -> int:
        generator = torch.Generator().manual_seed(0)
        batches = task.split("train").batches(8, generator=generator, bucket=bucket)
        return sum(batch.tokens.numel() for batch in batches)

    assert steps(bucket=True) < 0.9 * steps(bucket=False)


def test_shuffling_is_decided_by_the_generator_and_leaves_the_global_state(task: TextTask) -> None:
    split = task.split("train")
    before = torch.get_rng_state()
    orders = [
        [b.labels.tolist() for b in split.batches(8, generator=torch.Generator().manual_seed(s))]
        for s in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert orders[0] == orders[1] != orders[2]
    assert split.batch([3, 1]).labels.tolist() == split.labels[[3, 1]].tolist()


def test_arguments_out_of_range_are_refused(task: TextTask, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows_of(9))
    with pytest.raises(ValueError, match=r"vocabulary_size is 2.*at least 3"):
        text(path, vocabulary_size=2)
    with pytest.raises(ValueError, match="max_length is 0"):
        text(path, max_length=0)
    with pytest.raises(ValueError, match=r"validation is 0.5 and test is 0.5.*below 1"):
        text(path, validation=0.5, test=0.5)
    with pytest.raises(ValueError, match=r"no split 'dev'\. Pass one of train, validation, test"):
        task.split("dev")
    with pytest.raises(ValueError, match="batch_size is 0"):
        list(task.split("train").batches(0))


def check_error(path: Path, *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        text(path)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"label,body\n0,red\n", ("no column 'text'", "label, body", "text_column")),
        (b"", ("the file is empty",)),
        (b"label,text\n", ("no rows below the header",)),
        (b"label,text\n0,red\n\n1,  \n", ("line 4", "'text' is empty", "remove the row")),
        (b"label,text\n,red\n", ("line 2", "'label' is empty")),
        (b"label,text\n0,red\n1,red,blue\n", ("line 3", "3 fields", "header has 2")),
        (b"label,text\n0,red\n1.5,blue\n", ("line 3", "'1.5'", "integer")),
        (b"label,text\n0,red\n0,blue\n", ("every row has the label '0'", "label_column")),
        (b"label,text\n0,red\n1,bl\xff\n", ("line 3", "not UTF-8", "0xff")),
        (b'label,text\n0,"red\n1,blue\n', ("line 3", "quoting")),
        (b"label,text\n0,red\n1,blue\n", ("too few", "validation=0")),
    ],
)
def test_a_bad_file_is_named_with_its_line(
    tmp_path: Path, content: bytes, parts: tuple[str, ...]
) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    check_error(path, "bad.csv", *parts)


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    check_error(tmp_path / "none.csv", "none.csv", "no such file or folder")
    check_error(tmp_path, "none of train.csv, train.tsv, train.jsonl, train.txt")
    (tmp_path / "t.xlsx").write_text("x")
    check_error(tmp_path / "t.xlsx", "t.xlsx", "none of .csv, .tsv, .jsonl, .txt")


def test_a_folder_that_leaves_a_choice_is_refused(tmp_path: Path) -> None:
    for name in ("train", "dev", "valid"):
        write(tmp_path / f"{name}.csv", rows_of(4))
    check_error(tmp_path, "valid.csv", "dev.csv", "Keep one")


def test_labels_outside_the_classes_are_named_with_their_line(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", rows_of(10))
    write(tmp_path / "test.csv", [("0", "red"), ("7", "red")])
    check_error(tmp_path, "test.csv, line 3", "'7'", "known labels (0, 1)")
    (tmp_path / "classes.txt").write_text("warm\n")
    check_error(tmp_path, "train.csv, line 3", "'1'", "classes.txt names 1, numbered from 0")
    (tmp_path / "classes.txt").write_text("warm\nwarm\n")
    check_error(tmp_path, "classes.txt", "'warm' is listed twice")
    (tmp_path / "classes.txt").write_bytes(b"w\xffrm\n")
    check_error(tmp_path, "classes.txt", "not UTF-8")


def test_data_errors_are_value_errors() -> None:
    assert issubclass(DataError, ValueError)
