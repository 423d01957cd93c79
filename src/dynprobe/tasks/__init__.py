"""Data sets with a known structure: synthetic counting tasks and labelled text files."""

from dynprobe.tasks.batch import Batch
from dynprobe.tasks.categorical import Categorical, categorical
from dynprobe.tasks.text import TextTask, text

__all__ = ["Batch", "Categorical", "TextTask", "categorical", "text"]
