"""The text data sets of the survey, from a folder that holds them."""

from __future__ import annotations

from pathlib import Path

from dynprobe.errors import DataError
from dynprobe.study.survey.settings import MAX_WORDS, TEXTS
from dynprobe.tasks import TextTask, text
from dynprobe.tasks.rows import Rows
from dynprobe.tasks.sources import read_source
from dynprobe.tasks.tables import Table

#: Emotions that are told apart: frequent, and seldom given together.
EMOTIONS = ("amusement", "anger", "gratitude", "sadness")


class _Columns(dict[str, list[str]]):
    """Columns by name, as a table."""

    @property
    def column_names(self) -> list[str]:
        return list(self)


def read_text(name: str, folder: Path, *, seed: int = 0) -> TextTask:
    """Read one of the data sets; longer texts lose their end.

    Of GoEmotions, comments with exactly one of four emotions and no other label, as many of each.

    Parameters
    ----------
    name
        Key of :data:`dynprobe.study.survey.settings.TEXTS`.
    folder
        Holds a folder of that name.
    seed
        Of what is cut off for validation, or left out for balance.

    Raises
    ------
    DataError
        If it is not there, or cannot be read.
    """
    where = folder / name
    if not where.is_dir():
        raise DataError(
            f"{where}: there is no such folder. Pass one with folders called {', '.join(TEXTS)}."
        )
    if name != "goemotions":
        return text(where, max_length=MAX_WORDS, seed=seed)
    return text(_one_emotion(where), max_length=MAX_WORDS, balanced=True, seed=seed)


def _one_emotion(folder: Path) -> dict[str, Table]:
    source = read_source(folder, "text", "label", multilabel=True, phrases=False)
    assert source.names is not None
    wanted = {str(i): e for i, e in enumerate(source.names.names) if e in EMOTIONS}
    return {part: _only(rows, wanted) for part, rows in source.parts.items()}


def _only(rows: Rows, wanted: dict[str, str]) -> Table:
    """Rows with one label, a wanted one."""
    kept = [
        (words, wanted[labels[0]])
        for words, labels in zip(rows.texts, rows.labels, strict=True)
        if len(labels) == 1 and labels[0] in wanted
    ]
    return _Columns(text=[words for words, _ in kept], label=[label for _, label in kept])
