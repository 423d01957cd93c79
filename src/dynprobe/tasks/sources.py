"""Recognising where labelled texts come from, and reading each part with its reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dynprobe.errors import DataError
from dynprobe.tasks.classes import read_class_names
from dynprobe.tasks.json_lines import read_json_lines
from dynprobe.tasks.labelled_file import DELIMITERS, read_labelled_file
from dynprobe.tasks.rows import ClassNames, Rows
from dynprobe.tasks.tables import Frame, Table, as_table, read_table
from dynprobe.tasks.trees import read_phrases, read_sentences

PART_NAMES = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
TABLE_NAME = "dataset"
JSON_LINES, TREES = ".jsonl", ".txt"
SUFFIXES = (*DELIMITERS, JSON_LINES, TREES)


@dataclass(frozen=True)
class Source:
    """What was read.

    Attributes
    ----------
    name
        Of the file, folder or data set.
    parts
        ``"train"``, and ``"validation"`` and ``"test"`` where they exist.
    names
        Names of the classes, where the source has them.
    phrases
        The labelled phrases of the training part, if they were asked for.
    """

    name: str
    parts: dict[str, Rows]
    names: ClassNames | None
    phrases: Rows | None


def read_source(
    source: str | Path | Table | Frame | Mapping[str, Table | Frame],
    text_column: str,
    label_column: str,
    *,
    multilabel: bool | None,
    phrases: bool,
) -> Source:
    """Read files by their suffix, tables by their columns; see :func:`dynprobe.tasks.text`.

    Raises
    ------
    DataError
        If there is nothing to read, the parts are not clear, or a reader finds something wrong.
    ValueError
        If `phrases` are asked for and the training part is no file of trees.
    """
    parts: dict[str, Rows] = {}
    if not isinstance(source, str | Path):
        if phrases:
            raise _no_phrases("A table")
        for part, table in _find_tables(source).items():
            place = f"{TABLE_NAME}[{part!r}]"
            parts[part] = read_table(table, place, text_column, label_column, multilabel)
            multilabel = parts[part].several  # as in the training part, which comes first
        return Source(TABLE_NAME, parts, parts["train"].names, None)

    path = Path(source)
    files = _find_files(path)
    names, listed = _find_names(path)
    if listed and multilabel is None:
        multilabel = True
    for part, file in files.items():
        parts[part] = _read_file(file, text_column, label_column, multilabel)
        multilabel = parts[part].several
    if phrases and files["train"].suffix.lower() != TREES:
        raise _no_phrases(str(files["train"]))
    within = read_phrases(files["train"]) if phrases else None
    return Source(path.stem, parts, names or parts["train"].names, within)


def _read_file(path: Path, text_column: str, label_column: str, several: bool | None) -> Rows:
    suffix = path.suffix.lower()
    if suffix in DELIMITERS:
        return read_labelled_file(path, text_column, label_column, bool(several))
    if suffix == JSON_LINES:
        return read_json_lines(path, text_column, label_column, several)
    if suffix == TREES:
        return read_sentences(path)
    raise DataError(
        f"{path}: the name ends in none of {', '.join(SUFFIXES)}. Rename or convert it."
    )


def _find_files(path: Path) -> dict[str, Path]:
    """Return the files of the parts; one file alone is the training part."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder. Check the path.")
    if not path.is_dir():
        return {"train": path}
    files: dict[str, Path] = {}
    for part, stems in PART_NAMES.items():
        names = (stem + suffix for stem in stems for suffix in SUFFIXES)
        found = [name for name in names if (path / name).is_file()]
        files.update((part, path / name) for name in _only(found, part, str(path)))
    if "train" not in files:
        known = ", ".join("train" + suffix for suffix in SUFFIXES)
        raise DataError(
            f"{path}: the folder holds none of {known}. Add one, or pass the path of a single file."
        )
    return files


def _find_names(path: Path) -> tuple[ClassNames | None, bool]:
    """Return the class names that a folder lists, and whether as labels of which several hold."""
    for name in ("classes.txt", "labels.txt"):
        names = read_class_names(path / name)
        if names is not None:
            return ClassNames(names, name), name == "labels.txt"
    return None, False


def _find_tables(source: Table | Frame | Mapping[str, Table | Frame]) -> dict[str, Table]:
    """Return the tables of the parts; one table alone is the training part."""
    if not isinstance(source, Mapping):
        return {"train": _table(source)}
    tables: dict[str, Table] = {}
    for part, names in PART_NAMES.items():
        found = [name for name in names if name in source]
        tables.update((part, _table(source[name])) for name in _only(found, part, "The data set"))
    if "train" not in tables:
        raise DataError(
            f"The data set holds no 'train' part; its parts are {', '.join(source) or 'none'}. "
            "Pass {'train': table}, or one table alone."
        )
    return tables


def _table(source: object) -> Table:
    table = as_table(source)
    if not isinstance(table, Table) or table.column_names is None:  # a stream may not know them
        raise DataError(
            f"A {type(source).__name__} is no source of labelled texts. Pass a path, or a table "
            "with column_names and columns by name such as a Hugging Face Dataset (one that is "
            "not streamed, or knows its columns) or DatasetDict, or a pandas DataFrame."
        )
    return table


def _only(found: list[str], part: str, where: str) -> Iterable[str]:
    if len(found) > 1:
        raise DataError(
            f"{where}: both {found[0]} and {found[1]} could be the {part} part. Keep one of them."
        )
    return found


def _no_phrases(what: str) -> ValueError:
    return ValueError(
        f"{what} has no labelled phrases; only files of trees ({TREES}) have. Pass phrases=False."
    )
