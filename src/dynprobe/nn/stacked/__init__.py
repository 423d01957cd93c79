"""Several recurrent classifiers of one architecture, run and trained as one."""

from dynprobe.nn.stacked.stack import Stack

__all__ = ["Stack"]
