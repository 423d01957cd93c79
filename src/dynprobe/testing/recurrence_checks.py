"""Whether a recurrence is the map it says it is: all checks at once, or as a list for pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from dynprobe.errors import PluginError
from dynprobe.recording import Recording
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.registry import find_observer
from dynprobe.testing import form_tests, map_tests
from dynprobe.testing.check import Check, Expected, marked, named, run_all
from dynprobe.testing.forward import recorded
from dynprobe.testing.points import Points, points_of


def check_recurrence(
    subject: Recurrence | nn.Module,
    *,
    recording: Recording | None = None,
    expected_failures: Expected | None = None,
    seed: int = 0,
) -> None:
    """Check that a recurrence is the map it says it is.

    Parameters
    ----------
    subject : Recurrence or nn.Module
        A map, or a module whose class is registered: then every recurrence in it is checked, and
        its steps are compared with the module's own forward.
    recording : Recording, optional
        Of the recurrence: its states and inputs are what is checked, instead of random ones, and
        each state must be the step from the one before. For modules that are neither a cell nor
        a layer of torch.nn this is how the forward is checked.
    expected_failures : mapping, optional
        Names of checks that fail, with the reason.
    seed : int
        Of the random states and inputs.

    Raises
    ------
    AssertionError
        With a sentence for each check that failed: what was wrong and what to do.
    UnknownNameError
        If an expected failure is the name of no check.
    """
    run_all(_checks(subject, recording, seed), expected_failures)


def recurrence_checks(
    subject: Recurrence | nn.Module,
    *,
    recording: Recording | None = None,
    expected_failures: Expected | None = None,
    seed: int = 0,
) -> list[Any]:
    """The same, as a list for ``@pytest.mark.parametrize("check", recurrence_checks(cell))``.

    Returns
    -------
    list of Check
        Each with a `name`, and called without arguments; those that are expected to fail as
        ``pytest.param`` with a strict xfail mark.
    """
    return marked(_checks(subject, recording, seed), expected_failures)


def _checks(subject: Recurrence | nn.Module, recording: Recording | None, seed: int) -> list[Check]:
    if isinstance(subject, Recurrence):
        maps: Mapping[str, Recurrence] = {"": subject}
    else:
        observer = find_observer(subject)
        if observer is None:
            raise PluginError(
                f"{type(subject).__name__} is not registered as a recurrence; put "
                "@dynprobe.register_recurrence above the class that reads it, or pass a recurrence."
            )
        maps = observer.recurrences(subject)
    each: dict[str, Callable[[Points], None]] = {
        "shapes": map_tests.shapes,
        "deterministic": map_tests.deterministic,
        "batch_independence": map_tests.batch,
        "dtype_follows_state": map_tests.dtype,
        "precisions_agree": map_tests.precisions,
        "jacobian": form_tests.jacobian,
        "input_jacobian": form_tests.input_jacobian,
        "root": form_tests.root,
        "root_jacobian": form_tests.root_jacobian,
        "bound": form_tests.bound,
        "affine": form_tests.affine,
        "untouched": map_tests.leaves_untouched,
    }

    def over(test: Callable[[Points], None]) -> Callable[[], None]:
        def run() -> None:
            for m in maps.values():
                test(points_of(m, recording, seed))

        return run

    def contract() -> None:
        for m in maps.values():
            map_tests.contract(m)

    tests = {"contract": contract} | {name: over(test) for name, test in each.items()}
    forward = recorded(subject, maps, recording, seed)
    if forward is not None:
        tests["forward"] = forward
    return named(type(subject).__name__, tests)
