"""Data sets with a known structure: synthetic counting tasks and labelled text files."""

from dynprobe.tasks.batch import Batch
from dynprobe.tasks.categorical import Categorical, CategoricalWithTies, categorical
from dynprobe.tasks.correlated import Correlated, correlated
from dynprobe.tasks.counting import CountingTask
from dynprobe.tasks.five_stars import FiveStars
from dynprobe.tasks.interpolated import Interpolated, interpolated
from dynprobe.tasks.multilabel import Multilabel, multilabel
from dynprobe.tasks.ordered import Ordered, ordered
from dynprobe.tasks.shuffle import shuffled
from dynprobe.tasks.task import Task
from dynprobe.tasks.text import TextTask, text
from dynprobe.tasks.text_split import TextSplit

__all__ = [
    "Batch",
    "Categorical",
    "CategoricalWithTies",
    "Correlated",
    "CountingTask",
    "FiveStars",
    "Interpolated",
    "Multilabel",
    "Ordered",
    "Task",
    "TextSplit",
    "TextTask",
    "categorical",
    "correlated",
    "interpolated",
    "multilabel",
    "ordered",
    "shuffled",
    "text",
]
