"""What every analyzer has to do, one method each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dynprobe.analyzers.base import Analyzer
from dynprobe.analyzers.registry import check_contract
from dynprobe.errors import PluginError
from dynprobe.plain import plain
from dynprobe.testing import untouched
from dynprobe.testing.leaves import difference, leaves
from dynprobe.testing.running import AnalyzerLike, run
from dynprobe.testing.samples import Sample


class AnalyzerTests:
    """The tests of one analyzer.

    Parameters
    ----------
    analyzer : Analyzer or its class
        What is checked.
    cls : type
        Its class.
    make : callable
        Gives what it is run on; anew for each test, because a bad analyzer leaves its traces.
    """

    def __init__(
        self, analyzer: AnalyzerLike, cls: type[Analyzer], make: Callable[[], Sample]
    ) -> None:
        self.analyzer = analyzer
        self.cls = cls
        self.make = make

    def result(self, sample: Sample | None = None, **kwargs: Any) -> Any:
        return run(self.analyzer, sample or self.make(), **kwargs)

    def contract(self) -> None:
        try:
            check_contract(self.cls.__name__, self.cls)
        except PluginError as error:
            raise AssertionError(str(error)) from error
        if isinstance(self.analyzer, type):
            try:
                self.cls()
            except TypeError as error:
                raise AssertionError(
                    f"It cannot be made without arguments ({error}), so it cannot be asked for by "
                    "name. Give every parameter of __init__ a default."
                ) from error

    def frozen(self) -> None:
        result = self.result()
        parameters = getattr(type(result), "__dataclass_params__", None)
        if not (parameters is not None and parameters.frozen):
            raise AssertionError(
                f"The result, a {type(result).__name__}, is not frozen: other analyzers get the "
                "same "
                "object by ctx.result(). Write @dataclass(frozen=True) above its class."
            )

    def is_plain(self) -> None:
        result = self.result()
        to_dict = getattr(result, "to_dict", None)
        if to_dict is not None:
            if not isinstance(to_dict(), dict):
                raise AssertionError(
                    f"to_dict() of the result gave {type(to_dict()).__name__}; return a dict of "
                    "plain "
                    "lists, numbers and texts, or leave the method out."
                )
        else:
            for where, value in leaves(result).items():
                known = value is None or isinstance(value, (str, bool, int, float))
                if not (known or hasattr(value, "tolist")):
                    raise AssertionError(
                        f"{type(result).__name__}{where} is a {type(value).__name__}, which a "
                        "report "
                        "cannot write as JSON. Keep numbers, texts, tensors, and tuples, dicts and "
                        "frozen dataclasses of these, or give the result a to_dict()."
                    )
        json.dumps(plain(result))

    def requirements(self) -> None:
        requires = frozenset(self.analyzer.requires)
        try:
            self.result(self.make().only(requires))
        except Exception as error:
            raise AssertionError(
                f"On a recording with nothing but {sorted(requires)} it raised "
                f"{type(error).__name__}: {error}. Add to `requires` what it cannot do without, "
                'and ask ctx.has("...") before using what it can.'
            ) from error

    def seeded(self) -> None:
        results = []
        for elsewhere in (1, 2):
            with untouched.drawn_elsewhere(elsewhere):
                results.append(self.result(seed=3))
        found = difference(*results)
        if found:
            raise AssertionError(
                f"Two runs with the same seed gave different results: {found}. Draw from a "
                "torch.Generator().manual_seed(ctx.seed), never from a global random state, and "
                "keep "
                "nothing between runs in self."
            )

    def recording_unchanged(self) -> None:
        sample = self.make()
        before = untouched.of_recording(sample.recording)
        self.result(sample)
        found = untouched.changed(before, untouched.of_recording(sample.recording))
        if found:
            raise AssertionError(
                f"It changed {', '.join(found)} of the recording, which other analyzers read, too. "
                "Work on a copy: x.clone(), and no operation that ends in _."
            )

    def model_unchanged(self) -> None:
        sample = self.make()
        module = None if sample.recurrence is None else sample.recurrence.module
        before = untouched.of_module(module)
        self.result(sample)
        found = untouched.changed(before, untouched.of_module(module))
        if found:
            raise AssertionError(
                f"It changed {', '.join(found)}. Call the recurrence and leave its module alone; "
                "gradients are had by torch.autograd.grad, not by backward()."
            )

    def process_unchanged(self) -> None:
        with untouched.drawn_elsewhere(5):
            before = untouched.of_process()
            self.result()
            found = untouched.changed(before, untouched.of_process())
        if found:
            raise AssertionError(
                f"It changed {', '.join(found)}, which belongs to whoever runs the analysis. "
                "Draw from "
                "a torch.Generator().manual_seed(ctx.seed), and set nothing globally."
            )

    def padding(self) -> None:
        found = difference(
            self.result(), self.result(self.make().padded(5)), tolerance=1e-5, common=True
        )
        if found:
            raise AssertionError(
                f"Five more steps of padding change the result: {found}. Use rec.flat(), or "
                "rec.states[rec.mask], in place of rec.states, and rec.final in place of the "
                "last step."
            )

    def progress(self) -> None:
        calls: list[tuple[int, int]] = []
        quiet = self.result()
        found = difference(
            quiet, self.result(progress=lambda _, __, done, total: calls.append((done, total)))
        )
        if found:
            raise AssertionError(
                f"Somebody who watches the progress gets another result: {found}. What "
                "ctx.progress "
                "is called with must not depend on what it does."
            )
        wrong = [c for c in calls if not 0 <= c[0] <= c[1]]
        if wrong:
            raise AssertionError(
                f"ctx.progress{wrong[0]} was called; it takes (done, total) with 0 <= done <= "
                "total."
            )

    def presented(self) -> None:
        result = self.result()
        if hasattr(result, "summary"):
            rows = list(result.summary())
            if not all(isinstance(row, (tuple, list)) and len(row) == 2 for row in rows):
                raise AssertionError(
                    f"summary() gave {rows!r:.80}; return a list of pairs (measure, value)."
                )
        if hasattr(result, "figure"):
            from matplotlib.figure import Figure

            figure = result.figure()
            if not isinstance(figure, Figure):
                raise AssertionError(
                    f"figure() gave a {type(figure).__name__}; return a "
                    "matplotlib.figure.Figure, made "
                    "without pyplot, which would keep every figure open."
                )
