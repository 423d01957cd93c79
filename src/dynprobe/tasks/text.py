"""Labelled texts from CSV or TSV files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dynprobe.errors import DataError
from dynprobe.tasks.classes import find_classes, read_class_names
from dynprobe.tasks.labelled_file import DELIMITERS, LabelledFile, read_labelled_file
from dynprobe.tasks.stratified import stratified_parts
from dynprobe.tasks.text_split import TextSplit
from dynprobe.tasks.words import PAD, SPECIAL_WORDS, frequent_words, word_ids

VALIDATION_NAMES = ("validation", "valid", "val", "dev")


@dataclass(frozen=True, eq=False)
class TextTask:
    """A text classification data set with a vocabulary and three parts.

    Attributes
    ----------
    name
        The file's or folder's name, for titles and tables.
    vocabulary
        Words by id; 0 is ``"<pad>"``, 1 is ``"<unk>"``.
    class_names
        Class names by index.
    max_length
        Texts are cut to this many words.
    splits
        The parts by name: ``"train"``, ``"validation"``, ``"test"``.
    """

    name: str
    vocabulary: list[str]
    class_names: list[str]
    max_length: int
    splits: Mapping[str, TextSplit]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def padding_idx(self) -> int:
        """The id of ``"<pad>"``."""
        return PAD

    @property
    def n_cut(self) -> int:
        """How many texts of all parts were longer than `max_length` and lost their end."""
        return sum(split.n_cut for split in self.splits.values())

    def split(self, name: str) -> TextSplit:
        """Return the part called `name`.

        Raises
        ------
        ValueError
            If there is no such part.
        """
        if name not in self.splits:
            raise ValueError(f"There is no split {name!r}. Pass one of {', '.join(self.splits)}.")
        return self.splits[name]

    def encode(self, text: str) -> Tensor:
        """Return the word ids of any text, int64, ``(words,)``, cut to `max_length`."""
        ids = {word: index for index, word in enumerate(self.vocabulary)}
        return word_ids(text, ids)[: self.max_length]


def text(
    path: str | Path,
    *,
    text_column: str = "text",
    label_column: str = "label",
    vocabulary_size: int = 10_000,
    max_length: int = 256,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
) -> TextTask:
    """Read labelled texts and split them for training, validation and test.

    Texts are lower-cased and split into words (runs of letters and digits; punctuation is left
    out). Over-long texts are cut, not dropped, and `TextTask.n_cut` says how many.

    Parameters
    ----------
    path
        A ``.csv`` or ``.tsv`` file with a row of column names; or a folder with ``train.csv`` or
        ``train.tsv`` and, where they exist, ``validation`` (or ``valid``, ``val``, ``dev``),
        ``test``, and ``classes.txt`` with one class name per line in label order. Parts without
        a file of their own are cut from the training rows.
    text_column, label_column
        Names of the columns. Labels are integers or class names.
    vocabulary_size
        Largest number of words, the two special ones included; the most frequent training words
        are kept.
    max_length
        Largest number of words in a text.
    validation, test
        Shares of the training rows to cut off, where the part has no file of its own. Every
        class is cut in the same shares.
    seed
        Decides which rows are cut off.

    Returns
    -------
    TextTask
        The data set.

    Raises
    ------
    DataError
        If a file cannot be read as labelled text, naming file and line, or has too few rows to
        split.
    ValueError
        If an argument is out of range.
    """
    if vocabulary_size <= len(SPECIAL_WORDS):
        raise ValueError(
            f"vocabulary_size is {vocabulary_size}, of which {len(SPECIAL_WORDS)} are special "
            f"words. Pass at least {len(SPECIAL_WORDS) + 1}."
        )
    if max_length < 1:
        raise ValueError(f"max_length is {max_length}. Pass at least 1 word.")
    if validation < 0 or test < 0 or validation + test >= 1:
        raise ValueError(
            f"validation is {validation} and test is {test}. Pass shares from 0 whose sum is "
            "below 1, so that rows are left for training."
        )
    path = Path(path)
    files = _find_files(path)
    read = {
        name: read_labelled_file(file, text_column, label_column) for name, file in files.items()
    }
    classes = find_classes(read["train"], read_class_names(path / "classes.txt"))
    rows: dict[str, tuple[list[str], Tensor]] = {
        name: (file.texts, classes.indices(file)) for name, file in read.items()
    }
    shares = (
        0.0 if "validation" in rows else validation,
        0.0 if "test" in rows else test,
    )
    texts, labels = rows["train"]
    kept, *parts = stratified_parts(labels, shares, torch.Generator().manual_seed(seed))
    rows["train"] = _take(texts, labels, kept)
    for name, share, part in zip(("validation", "test"), shares, parts, strict=True):
        if share and len(part) == 0:
            raise DataError(_too_few(read["train"], name))
        rows.setdefault(name, _take(texts, labels, part))

    vocabulary = frequent_words(rows["train"][0], vocabulary_size)
    ids = {word: index for index, word in enumerate(vocabulary)}
    splits = {
        name: _encoded(*rows[name], ids, max_length) for name in ("train", "validation", "test")
    }
    return TextTask(path.stem, vocabulary, classes.names, max_length, splits)


def _find_files(path: Path) -> dict[str, Path]:
    """Return the files of the parts; one file alone is the training part."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder. Check the path.")
    if not path.is_dir():
        return {"train": path}
    files: dict[str, Path] = {}
    for name, stems in (
        ("train", ("train",)),
        ("validation", VALIDATION_NAMES),
        ("test", ("test",)),
    ):
        found = [
            path / (stem + suffix)
            for stem in stems
            for suffix in DELIMITERS
            if (path / (stem + suffix)).is_file()
        ]
        if len(found) > 1:
            raise DataError(
                f"{path}: both {found[0].name} and {found[1].name} could be the {name} part. "
                "Keep one of them."
            )
        files.update((name, file) for file in found)
    if "train" not in files:
        raise DataError(
            f"{path}: the folder holds neither train.csv nor train.tsv. Add one, or pass the path "
            "of a single file."
        )
    return files


def _take(texts: list[str], labels: Tensor, rows: Tensor) -> tuple[list[str], Tensor]:
    return [texts[i] for i in rows.tolist()], labels[rows]


def _too_few(file: LabelledFile, part: str) -> str:
    return (
        f"{file.path}: {len(file.texts)} rows are too few to cut off a {part} part, which needs "
        f"three rows of a class. Add rows, or pass {part}=0."
    )


def _encoded(
    texts: list[str], labels: Tensor, ids: Mapping[str, int], max_length: int
) -> TextSplit:
    tokens = [word_ids(text, ids) for text in texts]
    n_cut = sum(len(sequence) > max_length for sequence in tokens)
    return TextSplit(texts, labels, [sequence[:max_length] for sequence in tokens], n_cut)
