"""A streaming analyzer whose accumulator was made elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynprobe.analyzers.base import Analyzer, Context, StreamingAnalyzer
from dynprobe.recording import Recording


class Finalized(Analyzer):
    """Gives the result of an accumulator; what it was made of may be gone.

    Parameters
    ----------
    streaming : StreamingAnalyzer
        Whose accumulator it is.
    accumulate : callable
        Gives it, from the recording of the context.
    """

    name = "finalized"

    def __init__(
        self, streaming: StreamingAnalyzer, accumulate: Callable[[Recording], Any]
    ) -> None:
        self.streaming = streaming
        self.accumulate = accumulate
        self.requires = streaming.requires

    def analyze(self, ctx: Context) -> Any:
        return self.streaming.finalize(self.accumulate(ctx.recording), ctx)
