"""Labelled texts from real pandas tables and Hugging Face datasets."""

from __future__ import annotations

import pytest

from dynprobe.errors import DataError
from dynprobe.tasks import text

WHOLE = {"validation": 0.0, "test": 0.0}
ROWS = {"text": ["a b", "c", "a"], "label": ["new", "old", "new"]}
pandas_needed = pytest.mark.requires("pandas")


@pandas_needed
def test_a_table_of_pandas_is_read_by_its_columns():
    import pandas

    table = pandas.DataFrame({"body": ROWS["text"], "y": [1, 0, 1]}, index=[7, 7, 2])
    task = text(table, text_column="body", label_column="y", **WHOLE)
    assert task.split("train").texts == ROWS["text"]
    assert task.split("train").labels.tolist() == [1, 0, 1]


@pandas_needed
def test_categories_are_the_classes_in_their_order():
    import pandas

    table = pandas.DataFrame(ROWS)
    assert text(table, **WHOLE).class_names == ["new", "old"]
    table["label"] = pandas.Categorical(table["label"], categories=["old", "new"])
    task = text(table, **WHOLE)
    assert task.class_names == ["old", "new"]
    assert task.split("train").labels.tolist() == [1, 0, 1]


@pandas_needed
def test_tables_by_part_and_lists_of_labels(tmp_path):
    import pandas

    table = pandas.DataFrame({"text": ["x", "y"], "label": [["b", "a"], []]})
    task = text({"train": table, "dev": table[:1]}, multilabel=True, test=0.0)
    assert task.split("train").labels.tolist() == [[True, True], [False, False]]
    assert len(task.split("validation")) == 1


@pandas_needed
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a", None], "label": [0, 1]}, r"row 1: 'text' is (None|nan)"),
        ({"text": ["a", "b"], "label": [0, None]}, r"row (0|1): the label is (nan|0\.0)"),
        ({"body": ["a"], "label": [0]}, "no column 'text'.*are: body, label"),
        ({"text": [], "label": []}, "there are no rows"),
    ],
)
def test_a_bad_table_is_named_with_its_row(columns, message):
    import pandas

    with pytest.raises(DataError, match=message):
        text(pandas.DataFrame(columns), **WHOLE)


@pandas_needed
def test_two_columns_of_one_name():
    import pandas

    table = pandas.DataFrame([["a", "b", 0]], columns=["text", "text", "label"])
    with pytest.raises(DataError, match="2 columns are called 'text'"):
        text(table, **WHOLE)


@pytest.mark.requires("datasets")
def test_a_hugging_face_dataset_with_class_names():
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["old", "new"])})
    table = Dataset.from_dict({"text": ROWS["text"], "label": [1, 0, 1]}, features=features)
    task = text(table, **WHOLE)
    assert task.class_names == ["old", "new"]
    assert task.split("train").labels.tolist() == [1, 0, 1]
    parts = text(DatasetDict({"train": table, "validation": table, "test": table}))
    assert {name: len(split) for name, split in parts.splits.items()} == {
        "train": 3,
        "validation": 3,
        "test": 3,
    }


@pytest.mark.requires("datasets")
def test_lists_of_class_labels_and_streamed_sets():
    from datasets import ClassLabel, Dataset, Features, IterableDataset, List, Value

    features = Features(
        {"text": Value("string"), "labels": List(ClassLabel(names=["joy", "fear", "anger"]))}
    )
    table = Dataset.from_dict({"text": ["x", "y"], "labels": [[2, 0], []]}, features=features)
    task = text(table, label_column="labels", **WHOLE)
    assert task.class_names == ["joy", "fear", "anger"]
    assert task.split("train").labels.tolist() == [[True, False, True], [False] * 3]
    with pytest.raises(DataError, match="not streamed"):
        text(IterableDataset.from_generator(lambda: iter([ROWS])), **WHOLE)
