"""Decides, while a stack trains, where its training ends."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dynprobe.nn.stacked import Stack
from dynprobe.study.settling import Check, Settling, look
from dynprobe.tasks.task import Task


class Watch:
    """Checks of all members so far, and what follows from them.

    Parameters
    ----------
    settling
        The rule; None checks nothing and lets the training run to its last step.
    task
        Where the validation sequences come from.
    members
        How many.
    steps
        Largest number of steps.
    cooldown
        Steps that are still done once all members have settled.

    Attributes
    ----------
    end : int
        Step at which the training ends, as far as is known.
    settled_at : list of (int or None)
        Of each member, the first check at which it had settled.
    checks : list of list of Check
        Of each member, in order.
    """

    def __init__(
        self, settling: Settling | None, task: Task, members: int, steps: int, cooldown: int
    ) -> None:
        self.settling, self.cooldown, self.end = settling, cooldown, steps
        self.settled_at: list[int | None] = [None] * members
        self.checks: list[list[Check]] = [[] for _ in range(members)]
        self._validation = (
            None if settling is None else task.sample(settling.sequences, seed=settling.seed)
        )

    def after(self, stack: Stack, done: int) -> None:
        """Check the members if it is time to, `done` steps being done."""
        if self.settling is None or self._validation is None:
            return
        # What a cooldown came to is worth a check of its own.
        if done % self.settling.check_every and done != self.end:
            return
        for i, check in enumerate(look(stack, self._validation, done)):
            self.checks[i].append(check)
            if self.settled_at[i] is None and self.settling.settled(self.checks[i]):
                self.settled_at[i] = done
        self._find_end()

    def to_dict(self) -> dict[str, Any]:
        """What was found so far, ready for JSON."""
        checks = [[asdict(check) for check in member] for member in self.checks]
        return {"settled_at": self.settled_at, "checks": checks}

    def restore(self, found: dict[str, Any]) -> None:
        """Go on from what :meth:`to_dict` returned."""
        self.checks = [[Check(**check) for check in member] for member in found["checks"]]
        # by the rule of now, whatever was written
        for i, checks in enumerate(self.checks):
            self.settled_at[i] = self._settled(checks)
        self._find_end()

    def _settled(self, checks: list[Check]) -> int | None:
        """The first check at which a member had settled."""
        if self.settling is None:
            return None
        for n in range(1, len(checks) + 1):
            if self.settling.settled(checks[:n]):
                return checks[n - 1].step
        return None

    def _find_end(self) -> None:
        steps = [step for step in self.settled_at if step is not None]
        if len(steps) == len(self.settled_at):
            self.end = min(self.end, max(steps) + self.cooldown)
