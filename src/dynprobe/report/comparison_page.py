"""A comparison as one page whose first screen says whether the models do the same."""

from __future__ import annotations

from dynprobe.report.comparison import MEMORY, MODEL, STREAM, Comparison
from dynprobe.report.figures.comparison import pictures
from dynprobe.report.template import footer, render, shown

#: What stands above each part of the table.
HEADINGS = {
    MODEL: "The model as a whole",
    STREAM: "Stream: the vectors that the linear classifier reads, at every position",
    MEMORY: "Memory: the state that the recurrence carries from step to step",
}


def render_comparison(comparison: Comparison) -> str:
    """Make one self-contained page of a comparison.

    Parameters
    ----------
    comparison : Comparison
        What to show. Names and reasons in it are escaped.

    Returns
    -------
    str
        HTML with the figures inside; it loads nothing and runs nothing.
    """
    names = list(comparison.names)
    drawn = [shown(picture) for picture in pictures(comparison)]
    return render(
        "comparison.html",
        title=f"Do {', '.join(names[:-1])} and {names[-1]} compute it the same way?",
        comparison=comparison,
        figures=drawn,
        headings=HEADINGS,
        parts={n: [row for row in comparison.rows if row.notion == n] for n in HEADINGS},
        footer=footer(comparison.seed),
    )
