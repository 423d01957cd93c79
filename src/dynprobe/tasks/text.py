"""Labelled texts from files or tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dynprobe.errors import DataError
from dynprobe.tasks.classes import find_classes
from dynprobe.tasks.labelled_texts import LabelledTexts
from dynprobe.tasks.reduction import reduce_classes
from dynprobe.tasks.rows import Rows
from dynprobe.tasks.sources import Source, read_source
from dynprobe.tasks.stratified import equal_shares
from dynprobe.tasks.tables import Frame, Table
from dynprobe.tasks.text_parts import PARTS, all_parts
from dynprobe.tasks.text_split import TextSplit
from dynprobe.tasks.words import PAD, SPECIAL_WORDS, frequent_words, word_ids


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
        Class names by index; names of the labels where several may hold at once.
    max_length
        No text has more words; longer ones were cut or dropped.
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
    def multilabel(self) -> bool:
        """Whether several labels may hold at once: labels are then bool, ``(rows, n_classes)``."""
        return self.splits["train"].labels.dim() == 2

    @property
    def padding_idx(self) -> int:
        """The id of ``"<pad>"``."""
        return PAD

    @property
    def n_cut(self) -> int:
        """How many texts of all parts were longer than `max_length` and lost their end."""
        return sum(split.n_cut for split in self.splits.values())

    @property
    def n_dropped(self) -> int:
        """How many texts of all parts were longer than `max_length` and were left out."""
        return sum(split.n_dropped for split in self.splits.values())

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
    source: str | Path | Table | Frame | Mapping[str, Table | Frame],
    *,
    text_column: str = "text",
    label_column: str = "label",
    multilabel: bool | None = None,
    phrases: bool = False,
    merge: Mapping[str, Sequence[str]] | None = None,
    classes: Sequence[str] | None = None,
    balanced: bool = False,
    vocabulary_size: int = 10_000,
    max_length: int = 256,
    overlong: Literal["cut", "drop"] = "cut",
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
) -> TextTask:
    r"""Read labelled texts and split them for training, validation and test.

    Texts are lower-cased and split into words (runs of letters and digits; punctuation is left
    out).

    Parameters
    ----------
    source
        A file, recognised by its name:

        * ``.csv``, ``.tsv``: a row of column names, then a text and its label a row;
        * ``.jsonl``: an object a line with the two columns as keys;
        * ``.txt``: a tree a line, as in the Stanford Sentiment Treebank, whose root is labelled.

        Or a folder with ``train`` and, where they exist, ``validation`` (or ``valid``, ``val``,
        ``dev``) and ``test``, each with one of these endings, and a list of class names, one a
        line in label order: ``classes.txt``, or ``labels.txt`` where several labels may hold at
        once. Or a pandas ``DataFrame``, whose categories are the class names, or a table with
        ``column_names`` and columns by name, such as a Hugging Face ``Dataset``; or a mapping of
        such tables by part, such as a ``DatasetDict``. Parts that are not there are cut from the
        training rows.
    text_column, label_column
        Names of the columns. Labels are integers or class names.
    multilabel
        Whether any number of labels may hold at once; they are then bool,
        ``(rows, n_classes)``, and written as a list in JSON and tables, separated by commas in
        files, which may then lack the row of column names (text first, labels second: GoEmotions).
        None: where the folder has a ``labels.txt``, or the first row of JSON or a table has a
        list.
    phrases
        Train on every labelled phrase of the trees and not only on the sentences. Validation and
        test are sentences, and their trees are not trained on.
    merge
        Classes to join: new name to the old names, such as
        ``{"negative": ["very negative", "negative"]}``. A joined label holds where one of its
        members does.
    classes
        Names of the classes to keep after joining, in this order. Rows of other classes are left
        out; where several labels may hold, rows stay and lose the other labels.
    balanced
        Leave out rows at random, in every part, until all classes have as many as the rarest;
        where several labels may hold, until all combinations of labels that occur do.
    vocabulary_size
        Largest number of words, the two special ones included; the most frequent training words
        are kept.
    max_length
        Largest number of words in a text.
    overlong
        What becomes of longer texts: ``"cut"`` or ``"drop"``. `TextTask.n_cut` and
        `TextTask.n_dropped` say how many; `TextSplit.cut` and `TextSplit.dropped` say which.
    validation, test
        Shares of the training rows to cut off, where the part is not there. Every
        class is cut in the same shares.
    seed
        Decides which rows are cut off, and which are left out for balance.

    Returns
    -------
    TextTask
        The data set.

    Raises
    ------
    DataError
        If the source cannot be read as labelled text, naming file and line, or has too few rows
        to split.
    ValueError
        If an argument is out of range, or `merge` or `classes` names no class.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "reviews.jsonl"
    ...     rows = ['{"text": "good", "label": "yes"}', '{"text": "not bad", "label": "no"}'] * 9
    ...     _ = path.write_text("\n".join(rows))
    ...     task = text(path)
    >>> task.class_names, {part: len(split) for part, split in task.splits.items()}
    (['no', 'yes'], {'train': 14, 'validation': 2, 'test': 2})
    """
    _check_arguments(vocabulary_size, max_length, overlong, validation, test)
    read = read_source(source, text_column, label_column, multilabel=multilabel, phrases=phrases)
    training = read.parts["train"]
    found = find_classes(training, read.names)
    reduction = reduce_classes(found.names, classes, merge)
    if len(reduction.names) < (1 if training.several else 2):
        raise ValueError(
            f"merge and classes leave {len(reduction.names)} of the classes, too few for a "
            f"classifier. The classes are: {', '.join(found.names)}."
        )

    def labelled(rows: Rows) -> LabelledTexts:
        kept, labels = reduction.apply(found.indices(rows))
        at = kept.tolist()
        return LabelledTexts([rows.texts[i] for i in at], labels, [rows.place(i) for i in at])

    parts = {name: labelled(rows) for name, rows in read.parts.items()}
    if len(parts["train"]) == 0:
        raise _nothing_left(read)
    generator = torch.Generator().manual_seed(seed)
    shares = {"validation": validation, "test": test}
    phrases_of = None if read.phrases is None else labelled(read.phrases)
    parts = all_parts(parts, shares, generator, phrases_of)

    dropped: dict[str, list[str]] = {name: [] for name in parts}
    if overlong == "drop":
        for name in PARTS:
            parts[name], dropped[name] = parts[name].up_to(max_length)
    if balanced:
        for name in PARTS:
            parts[name] = parts[name].only(equal_shares(parts[name].labels, generator))
    if len(parts["train"]) == 0:
        raise _nothing_left(read)
    vocabulary = frequent_words(parts["train"].texts, vocabulary_size)
    ids = {word: index for index, word in enumerate(vocabulary)}
    splits = {name: parts[name].encoded(ids, max_length, dropped[name]) for name in PARTS}
    return TextTask(read.name, vocabulary, reduction.names, max_length, splits)


def _check_arguments(
    vocabulary_size: int, max_length: int, overlong: str, validation: float, test: float
) -> None:
    if vocabulary_size <= len(SPECIAL_WORDS):
        raise ValueError(
            f"vocabulary_size is {vocabulary_size}, of which {len(SPECIAL_WORDS)} are special "
            f"words. Pass at least {len(SPECIAL_WORDS) + 1}."
        )
    if max_length < 1:
        raise ValueError(f"max_length is {max_length}. Pass at least 1 word.")
    if overlong not in ("cut", "drop"):
        raise ValueError(f"overlong is {overlong!r}. Pass 'cut' or 'drop'.")
    if validation < 0 or test < 0 or validation + test >= 1:
        raise ValueError(
            f"validation is {validation} and test is {test}. Pass shares from 0 whose sum is "
            "below 1, so that rows are left for training."
        )


def _nothing_left(read: Source) -> DataError:
    return DataError(
        f"{read.parts['train'].source}: no text is left for training. Keep more classes, or pass "
        "a larger max_length."
    )
