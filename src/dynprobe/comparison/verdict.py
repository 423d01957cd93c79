"""Whether the models compute it the same way: rules that turn numbers into words.

They are documented in ``docs/comparing.md``; change both together.
"""

from __future__ import annotations

from collections.abc import Sequence

from dynprobe.comparison.mechanism import Mechanism
from dynprobe.comparison.table import median_left, percent
from dynprobe.dynamics.pushes import Answer
from dynprobe.report.comparison import Cell, Dimension, Finding, Row, Similarity, unlike

#: A model has learned the task when it is half of the way from chance to no error.
LEARNED = 0.5
#: Share of equal answers that counts as the same, and as mostly the same.
SAME, MOSTLY = 0.95, 0.8
#: CKA of the same geometry, and below which it is another; participation ratios within this factor.
ALIKE, ANOTHER, FACTOR = 0.9, 0.5, 1.25

YES, PARTLY, NO, UNKNOWN = "yes", "in part", "no", "cannot be told"


def answers(accuracy: Row, same: Row, chance: float | None, asked: str) -> Finding:
    """Whether they give the same answers; whether they have learned to."""
    question = "Same answers?"
    names = list(same.cells)
    lacking = next(((n, c.text) for n, c in same.cells.items() if c.value is None), None)
    if lacking is not None:
        return Finding(question, UNKNOWN, f"Not of {lacking[0]}: {lacking[1]}.")
    least = min(_value(same.cells[name]) for name in names[1:])
    sentence = f"They give the same answer to {100 * least:.1f} % of {asked}"
    sentence += " or more" if len(names) > 2 else ""
    if chance is not None and all(c.value is not None for c in accuracy.cells.values()):
        right = ", ".join(f"{name} {_value(accuracy.cells[name]):.3f}" for name in names)
        sentence += f" (accuracy: {right})"
    return Finding(question, _graded(least, SAME, MOSTLY), sentence + ".")


def unlearned(accuracy: Row, chance: float | None) -> list[str]:
    """Models that are less than half of the way from chance to no error."""
    if chance is None:
        return []
    bar = chance + LEARNED * (1 - chance)
    return [n for n, cell in accuracy.cells.items() if cell.value is not None and cell.value < bar]


def geometry(similarity: Similarity | None, dimensions: dict[str, Dimension | str]) -> Finding:
    """Whether what the classifiers read has the same shape."""
    question = "Same geometry where it is read?"
    known = {name: d for name, d in dimensions.items() if isinstance(d, Dimension)}
    if similarity is None or len(known) < len(dimensions):
        lacking = ", ".join(sorted(set(dimensions) - set(known))) or "a model"
        return Finding(question, UNKNOWN, f"The stream of {lacking} is unknown.")
    alike, control, angle = unlike(similarity)
    ratios = [d.participation_ratio for d in known.values()]
    answer = _graded(alike, ALIKE, ANOTHER)
    # pair by pair: a ratio of NaN is within no factor of another
    if answer == YES and not all(a <= FACTOR * b for a in ratios for b in ratios):
        answer = PARTLY
    pair = "the least similar pair" if len(known) > 2 else "the two"
    used = ", ".join(f"{name} {d.participation_ratio:.1f}" for name, d in known.items())
    sentence = (
        f"What the classifiers read uses {used} dimensions (participation ratio); CKA of {pair} is "
        f"{alike:.2f} ({control:.2f} with sequences exchanged), the Procrustes angle {angle:.0f}°."
    )
    return Finding(question, answer, sentence)


def mechanism(found: dict[str, Mechanism | str], steps: float) -> Finding:
    """Whether a push off the manifold meets the same fate, and by a map of the same sort.

    What an affine map lets fade, it forgets: there is no place that it falls back to.
    """
    question = "Same mechanism of memory?"
    known = {n: m for n, m in found.items() if isinstance(m, Mechanism)}
    pushed = {n: m.push for n, m in known.items() if not isinstance(m.push, str)}
    if len(pushed) < len(found):
        lacking = ", ".join(sorted(set(found) - set(pushed)))
        return Finding(question, UNKNOWN, f"The push could not be tested on {lacking}.")
    fates = {n: _fate(p.answer, median_left(p.off), known[n]) for n, p in pushed.items()}
    sentence = (
        f"Of a push off the visited states, after {steps:g} steps under the mean input: "
        + "; ".join(f"{name} {fate}" for name, fate in fates.items())
        + "."
    )
    if len({p.answer for p in pushed.values()}) > 1:
        return Finding(question, NO, sentence)
    alike = len({known[n].affine for n in pushed}) == 1
    return Finding(question, YES if alike else PARTLY, sentence)


def verdict(found: Sequence[Finding], lacking: Sequence[str]) -> str:
    """One sentence."""
    if lacking:
        who = ", ".join(lacking)
        have = "has" if len(lacking) == 1 else "have"
        return f"Cannot be told: {who} {have} not learned the task."
    first, shape, way = (finding.answer for finding in found)
    if first == NO:
        return "No: they do not even give the same answers."
    if UNKNOWN in (first, shape, way):
        return "Cannot be told in full: see below what is unknown."
    words = {YES: "the same", PARTLY: "partly the same", NO: "another"}
    said = {YES: "same", PARTLY: "mostly the same", NO: "other"}[first]
    if (first, shape, way) == (YES, YES, YES):
        return "Yes, as far as answers, geometry and pushes can tell."
    start = "No" if (shape, way) == (NO, NO) else "Only in part"
    return (
        f"{start}: {said} answers, {words[shape]} geometry where the classifier reads, "
        f"{words[way]} mechanism of memory."
    )


def _fate(answer: Answer, left: float, found: Mechanism) -> str:
    share = f"{percent(left)} is left"
    if found.accumulates:
        return f"{share} (it only adds up, and corrects nothing)"
    if answer is Answer.RETURNS and found.affine:
        return f"{share} (it is forgotten, as whatever an affine map carries)"
    if answer is Answer.RETURNS:
        return f"{share} (it is pulled back)"
    return f"{share} (it {'grows' if answer is Answer.GROWS else 'stays'})"


def _graded(value: float, high: float, low: float) -> str:
    return YES if value >= high else PARTLY if value >= low else NO


def _value(cell: Cell) -> float:
    assert cell.value is not None
    return cell.value
