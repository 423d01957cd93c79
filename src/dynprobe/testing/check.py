"""One check with a name, lists of them for pytest, and all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dynprobe.errors import UnknownNameError, suggest

#: Name of a check -> why it is expected to fail.
Expected = Mapping[str, str]


@dataclass(frozen=True)
class Check:
    """A check of one analyzer or recurrence; calling it raises AssertionError where it fails.

    Attributes
    ----------
    name : str
        What pytest shows, and what `expected_failures` goes by.
    subject : str
        What is checked.
    run : callable
        The check itself.
    """

    name: str
    subject: str
    run: Callable[[], None]

    @property
    def __name__(self) -> str:
        return self.name  # pytest makes its ids of it

    def __call__(self) -> None:
        """Run it; whatever else is raised becomes an AssertionError with its cause."""
        try:
            self.run()
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(
                f"{self.subject} raised {type(error).__name__} in the check {self.name!r}: "
                f"{error}. Make it work on what the check gives it (the traceback above says "
                "where it stopped), or name the check in expected_failures with the reason."
            ) from error


def named(subject: str, tests: Mapping[str, Callable[[], None]]) -> list[Check]:
    """One check for each named test."""
    return [Check(name, subject, test) for name, test in tests.items()]


def marked(checks: Sequence[Check], expected: Expected | None) -> list[Any]:
    """The checks, those that are expected to fail as ``pytest.param(..., marks=xfail)``.

    Raises
    ------
    UnknownNameError
        If an expected failure is the name of no check.
    """
    reasons = _known(checks, expected)
    if not reasons:
        return list(checks)
    import pytest

    return [
        pytest.param(c, id=c.name, marks=pytest.mark.xfail(reason=reasons[c.name], strict=True))
        if c.name in reasons
        else c
        for c in checks
    ]


def run_all(checks: Sequence[Check], expected: Expected | None) -> None:
    """Run every check.

    Raises
    ------
    AssertionError
        Once, with a sentence for each check that failed, or passed though it was expected to fail.
    """
    reasons = _known(checks, expected)
    problems: list[str] = []
    first: AssertionError | None = None
    for check in checks:
        try:
            check()
        except AssertionError as error:
            if check.name not in reasons:
                problems.append(f"{check.name}: {error}")
                first = first or error
        else:
            if check.name in reasons:
                problems.append(
                    f"{check.name}: is expected to fail ({reasons[check.name]}), and passes; take "
                    "it out of expected_failures."
                )
    if problems:
        listed = "\n- ".join(problems)
        subject = checks[0].subject
        raise AssertionError(
            f"{subject} fails {len(problems)} of {len(checks)} checks:\n- {listed}"
        ) from first


def _known(checks: Sequence[Check], expected: Expected | None) -> dict[str, str]:
    names = {check.name for check in checks}
    for name in expected or {}:
        if name not in names:
            raise UnknownNameError(
                f"There is no check {name!r} to expect a failure of. {suggest(name, names)}"
            )
    return dict(expected or {})
