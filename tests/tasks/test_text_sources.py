"""Reading labelled texts from JSON lines, trees, tables and files of several labels."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dynprobe.errors import DataError
from dynprobe.tasks import text
from dynprobe.tasks.rows import Rows
from dynprobe.tasks.trees import read_phrases, read_sentences

WHOLE = {"validation": 0.0, "test": 0.0}


class Dataset:
    """Stands in for a Hugging Face Dataset: columns by name, features with class names."""

    def __init__(self, columns: dict[str, list[object]], features: object = None) -> None:
        self._columns = columns
        self.column_names = list(columns)
        if features is not None:
            self.features = features

    def __getitem__(self, column: str) -> list[object]:
        return self._columns[column]


def write_json(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def rows_of(n: int, n_classes: int = 2) -> list[dict[str, object]]:
    return [{"text": f"n{k} word", "label": k % n_classes} for k in range(n)]


def test_json_lines_are_read_like_a_table_of_columns(tmp_path: Path) -> None:
    path = write_json(tmp_path / "t.jsonl", [{"id": 1, "text": "a\u2028b", "label": "x"}])
    with path.open("a", encoding="utf-8") as file:
        file.write('\n{"label": "y", "text": "say \\"red\\""}\n')
    task = text(path, **WHOLE)
    assert task.class_names == ["x", "y"]
    assert task.split("train").texts == ["a\u2028b", 'say "red"']
    assert task.split("train").labels.tolist() == [0, 1]
    assert not task.multilabel


def test_lists_of_labels_in_json_are_several_labels(tmp_path: Path) -> None:
    rows = [{"body": f"n{k}", "tags": tags} for k, tags in enumerate([["b"], [], ["a", "b"]])]
    path = write_json(tmp_path / "t.jsonl", rows)
    task = text(path, text_column="body", label_column="tags", **WHOLE)
    assert task.multilabel
    assert task.class_names == ["a", "b"]
    assert task.split("train").labels.tolist() == [[False, True], [False, False], [True, True]]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"text": "a", "label": 0}\n{"text": "b"', ("line 2", "not JSON", "object a line")),
        ("[1, 2]\n", ("line 1", "list and not an object")),
        ('{"text": "a"}\n', ("line 1", "no key 'label'", "text", "label_column")),
        ('{"text": 3, "label": 0}\n', ("line 1", "'text' is 3 and not text")),
        ('\n{"text": " ", "label": 0}\n', ("line 2", "'text' is empty")),
        ('{"text": "a", "label": 0.5}\n', ("line 1", "the label is 0.5")),
        ('{"text": "a", "label": null}\n', ("line 1", "the label is None")),
        ('{"text": "a", "label": 0}\n{"text": "b", "label": [0, 1]}\n', ("line 2", "2 labels")),
        ('{"text": "a", "label": 0}\n{"text": "b", "label": "c"}\n', ("line 2", "'c'", "integer")),
        ("\n", ("no rows",)),
    ],
)
def test_a_bad_json_file_is_named_with_its_line(
    tmp_path: Path, content: str, parts: tuple[str, ...]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        text(path)
    for part in ("bad.jsonl", *parts):
        assert part in str(caught.value)


TREES = [
    "(3 (2 It) (4 (2 's) (4 (3 very) (3 good))))",
    "(0 (2 -LRB-) (0 (1 no\\/never) (1 bad)))",
    "(1 bad)",
    "(2 (2 so) (2 so))",
    "(4 great)",
]


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    path = tmp_path / "train.txt"
    path.write_text("\n".join(TREES) + "\n\n")
    return path


def test_trees_are_read_as_sentences_with_the_label_of_the_root(trees: Path) -> None:
    rows = read_sentences(trees)
    assert rows.texts == ["It 's very good", "( no/never bad", "bad", "so so", "great"]
    assert rows.labels == [["3"], ["0"], ["1"], ["2"], ["4"]]
    assert rows.names is not None
    task = text(trees, **WHOLE)
    assert task.class_names == rows.names.names
    assert task.class_names[0] == "very negative"
    assert task.split("train").labels.tolist() == [3, 0, 1, 2, 4]


def test_phrases_are_all_subtrees_with_a_word(trees: Path) -> None:
    rows = read_phrases(trees)
    first = [(rows.texts[k], rows.labels[k][0]) for k, n in enumerate(rows.numbers) if n == 1]
    assert first == [
        ("It", "2"),
        ("'s", "2"),
        ("very", "3"),
        ("good", "3"),
        ("very good", "4"),
        ("'s very good", "4"),
        ("It 's very good", "3"),
    ]
    assert "(" not in rows.texts
    assert len(rows.texts) == 7 + 4 + 1 + 3 + 1


def test_trees_of_other_labels_are_classes_by_number(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("(0 bad)\n(1 good)\n")
    assert text(path, **WHOLE).class_names == ["0", "1"]


def test_phrases_are_for_training_and_none_of_a_held_out_sentence(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("".join(f"({k % 2} (2 w{k}) (0 (1 x{k}) (1 y{k})))\n" for k in range(40)))
    with pytest.raises(DataError, match="t.txt, line 1: the label '2' is none of the known"):
        text(path, phrases=True)
    path.write_text("".join(f"({k % 2} (1 w{k}) (0 (1 x{k}) (1 y{k})))\n" for k in range(40)))
    task = text(path, phrases=True)
    held_out = [*task.split("validation").texts, *task.split("test").texts]
    assert len(held_out) == 8
    assert all(len(t.split()) == 3 for t in held_out)
    training = task.split("train")
    assert len(training) == 5 * 32
    words = {word for t in training.texts for word in t.split()}
    assert not words & {word for t in held_out for word in t.split()}
    plain = text(path)
    assert plain.split("test").texts == task.split("test").texts


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("hello there", "does not begin with an opening bracket"),
        ("(1 (2 a) (1 b)", "a bracket is not closed"),
        ("(1 a))", "follows after its last bracket"),
        ("(1 a) (2 b)", "follows after its last bracket"),
        ("((1 a))", "a node has no label"),
        ("()", "no node to close"),
        (")", "no node to close"),
        ("(1)", "a node with label '1' has no words"),
        ("(", "a bracket is not closed"),
    ],
)
def test_a_line_that_is_no_tree_is_named(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(f"(0 fine)\n\n{line}\n")
    with pytest.raises(DataError, match=r"bad\.txt, line 3: not a tree") as caught:
        text(path)
    assert why in str(caught.value)


def test_phrases_of_other_files_are_refused(tmp_path: Path) -> None:
    path = write_json(tmp_path / "t.jsonl", rows_of(9))
    with pytest.raises(ValueError, match=r"t\.jsonl has no labelled phrases.*phrases=False"):
        text(path, phrases=True)
    with pytest.raises(ValueError, match="A table has no labelled phrases"):
        text(Dataset({"text": ["a"], "label": [0]}), phrases=True)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match=r"empty\.txt: there are no trees"):
        text(tmp_path / "empty.txt")


def test_a_table_is_read_by_its_columns() -> None:
    features = {"label": SimpleNamespace(names=["warm", "cold"])}
    task = text(Dataset({"text": ["a", "b", "c"], "label": [1, 0, 1]}, features), **WHOLE)
    assert task.name == "dataset"
    assert task.class_names == ["warm", "cold"]
    assert task.split("train").labels.tolist() == [1, 0, 1]
    plain = text(Dataset({"text": ["a", "b"], "label": ["y", "x"]}), **WHOLE)
    assert plain.class_names == ["x", "y"]


def test_a_mapping_of_tables_has_parts_by_name() -> None:
    columns = {"text": [f"n{k}" for k in range(20)], "label": [k % 2 for k in range(20)]}
    parts = {
        "train": Dataset(columns),
        "dev": Dataset({"text": ["a"], "label": [0]}),
        "unsupervised": Dataset({"text": ["a"], "label": [-1]}),
    }
    task = text(parts)
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 18,
        "validation": 1,
        "test": 2,
    }


def test_the_training_part_says_whether_several_labels_hold(tmp_path: Path) -> None:
    one = [{"text": "a", "label": "x"}]
    write_json(tmp_path / "train.jsonl", [{"text": "a", "label": ["x", "y"]}, *one])
    write_json(tmp_path / "test.jsonl", one)
    task = text(tmp_path, validation=0)
    assert task.split("test").labels.tolist() == [[True, False]]


def test_lists_of_labels_in_a_table_are_several_labels() -> None:
    features = {"label": SimpleNamespace(feature=SimpleNamespace(names=["a", "b", "c"]))}
    table = Dataset({"text": ["x", "y"], "label": [[2, 0], []]}, features)
    task = text(table, **WHOLE)
    assert task.class_names == ["a", "b", "c"]
    assert task.split("train").labels.tolist() == [[True, False, True], [False, False, False]]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Dataset({"body": ["a"], "label": [0]}), r"no column 'text'.*are: body, label"),
        (Dataset({"text": ["a", None], "label": [0, 1]}), r"row 1: 'text' is None"),
        (Dataset({"text": ["a"], "label": [2.5]}), r"row 0: the label is 2\.5"),
        (Dataset({"text": ["a", "b"], "label": [0, [1, 0]]}), "row 1: 2 labels where the first"),
        (Dataset({"text": [], "label": []}), "there are no rows"),
        ({"test": Dataset({"text": ["a"], "label": [0]})}, r"no 'train' part; its parts are test"),
        (
            {k: Dataset({"text": ["a"], "label": [0]}) for k in ("train", "val", "dev")},
            "both val and dev could be the validation part",
        ),
        (
            Dataset({"text": ["a"], "label": [7]}, {"label": SimpleNamespace(names=["x", "y"])}),
            r"row 0: the label '7' is not the number of a class; the features of .* names 2",
        ),
        (42, "A int is no source of labelled texts"),
        ({"train": SimpleNamespace(column_names=["text"])}, "A SimpleNamespace is no source"),
    ],
)
def test_a_bad_table_is_named_with_its_row(source: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        text(source)


def write_emotions(folder: Path, n: int = 48) -> Path:
    """Rows without a header: text, label ids, an id; every combination of two of three labels."""
    combinations = ["0", "1", "0,1", "2"]
    lines = [f'say "it" n{k}\t{combinations[k % 4]}\tid{k}' for k in range(n)]
    (folder / "train.tsv").write_text("\n".join(lines) + "\n")
    (folder / "labels.txt").write_text("joy\nfear\nneutral")
    return folder


def test_a_folder_with_labels_has_several_and_needs_no_header(tmp_path: Path) -> None:
    task = text(write_emotions(tmp_path))
    assert task.multilabel
    assert task.class_names == ["joy", "fear", "neutral"]
    assert [len(task.split(p)) for p in ("train", "validation", "test")] == [40, 4, 4]
    for part in task.splits.values():
        assert part.labels.dtype == torch.bool
        for sentence, labels in zip(part.texts, part.labels.tolist(), strict=True):
            k = int(sentence.split("n")[-1])
            assert labels == [k % 4 in (0, 2), k % 4 in (1, 2), k % 4 == 3]
        # Stratified by combination of labels.
        assert part.labels.unique(dim=0, return_counts=True)[1].unique().numel() == 1


def test_batches_of_several_labels_keep_them_with_their_rows(tmp_path: Path) -> None:
    split = text(write_emotions(tmp_path)).split("train")
    batches = list(split.batches(16, generator=torch.Generator().manual_seed(0)))
    assert all(batch.labels.dtype == torch.bool for batch in batches)
    assert all(batch.labels.shape == (len(batch), 3) for batch in batches)
    found = [
        (tuple(tokens.tolist()), tuple(labels))
        for batch in batches
        for tokens, labels in zip(batch.sequences(), batch.labels.tolist(), strict=True)
    ]
    expected = [
        (tuple(tokens.tolist()), tuple(labels))
        for tokens, labels in zip(split.tokens, split.labels.tolist(), strict=True)
    ]
    assert sorted(found) == sorted(expected)


def test_blank_lines_above_the_header_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n\ntext,label\n\nred,x\nblue,y\n")
    assert text(path, **WHOLE).split("train").labels.tolist() == [0, 1]
    path.write_text("\n\n")
    with pytest.raises(DataError, match="the file is empty"):
        text(path)


def test_several_labels_can_be_asked_for_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('text,label\nred,"x, y"\nblue,\ngreen,y\n')
    task = text(path, multilabel=True, **WHOLE)
    assert task.split("train").labels.tolist() == [[True, True], [False, False], [False, True]]
    with pytest.raises(DataError, match=r"t\.csv, line 3: column 'label' is empty"):
        text(path)
    write_emotions(tmp_path)
    with pytest.raises(DataError, match=r"train\.tsv: there is no column 'text'.*multilabel=True"):
        text(tmp_path / "train.tsv")
    assert text(tmp_path / "train.tsv", multilabel=True).class_names == ["0", "1", "2"]
    (tmp_path / "train.tsv").write_text("red\t0,5\tid\n")
    with pytest.raises(DataError, match=r"train\.tsv, line 1: .*'5'.*labels\.txt names 3"):
        text(tmp_path)
    (tmp_path / "train.tsv").write_text("red\t\tid\n")
    with pytest.raises(DataError, match=r"train\.tsv: no row has a label"):
        text(tmp_path)


def test_rows_say_where_they_were_read() -> None:
    rows = Rows("t.csv", ["a", "b"], [["x"], ["y", "z"]], [2, 5])
    assert list(rows.labelled()) == [
        ("x", "t.csv, line 2"),
        ("y", "t.csv, line 5"),
        ("z", "t.csv, line 5"),
    ]


@pytest.mark.requires("data")
def test_the_sentiment_treebank_is_read_whole(data: Path) -> None:
    task = text(
        data / "sst5",
        merge={
            "negative": ["very negative", "negative"],
            "positive": ["positive", "very positive"],
        },
    )
    assert [len(task.split(p)) for p in ("train", "validation", "test")] == [8544, 1101, 2210]
    assert task.class_names == ["negative", "neutral", "positive"]
    assert torch.bincount(task.split("train").labels).tolist() == [3310, 1624, 3610]
    phrases = text(data / "sst5" / "dev.txt", phrases=True, **WHOLE)
    assert len(phrases.split("train")) > 20 * 1101


@pytest.mark.requires("data")
def test_goemotions_is_read_whole_and_two_labels_are_balanced(data: Path) -> None:
    task = text(data / "goemotions", classes=["admiration", "gratitude"], balanced=True)
    assert task.class_names == ["admiration", "gratitude"]
    for split in task.splits.values():
        combinations, counts = split.labels.unique(dim=0, return_counts=True)
        assert len(combinations) == 4
        assert counts.unique().numel() == 1
    assert len(task.split("train")) == 4 * 279
