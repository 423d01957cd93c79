"""Each check fails where it should, and says what to do."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import dynprobe
from dynprobe.analyzers.manifold_dimension import ManifoldDimension
from dynprobe.dynamics.affine import DiagonalMap
from dynprobe.errors import PluginError, UnknownNameError
from dynprobe.testing import (
    Sample,
    analyzer_checks,
    check_analyzer,
    check_recurrence,
    recurrence_checks,
)


@dataclass(frozen=True)
class Found:
    value: object


@dataclass
class Thawed:
    value: object


class Good(dynprobe.Analyzer):
    def analyze(self, ctx):
        ctx.progress(1, 1)
        return Found(ctx.recording.flat().double().mean(0))


def analyzer(body, **attributes):
    """An analyzer whose analyze() is `body`."""
    return type("Bad", (dynprobe.Analyzer,), {"analyze": body, **attributes})


def names_of_failures(checks):
    failed = {}
    for check in checks:
        try:
            check()
        except AssertionError as error:
            failed[check.name] = str(error)
    return failed


def in_place(self, ctx):
    ctx.recording.states.add_(1)
    return Found(1)


def trains(self, ctx):
    if ctx.has("recurrence"):
        ctx.recurrence.module.eval()
    return Found(1)


def reseeds(self, ctx):
    torch.manual_seed(ctx.seed)
    return Found(float(torch.rand(())))


def remembers(self, ctx):
    self.calls = getattr(self, "calls", 0) + 1
    return Found(self.calls)


class Shown(Found):
    def summary(self):
        return ["no pairs"]

    def figure(self):
        return "a figure"


class Mapped(Found):
    def to_dict(self):
        return [self.value]


BAD = {
    "old": (analyzer(Good.analyze, api=2), "contract", "supports api 1"),
    "not plain": (
        analyzer(lambda self, ctx: Found({1, 2})),
        "result_is_plain",
        "Found.value is a set, which a report cannot write as JSON",
    ),
    "to_dict": (
        analyzer(lambda self, ctx: Mapped(1)),
        "result_is_plain",
        "to_dict() of the result gave list",
    ),
    "not frozen": (
        analyzer(lambda self, ctx: Thawed(1)),
        "result_is_a_frozen_dataclass",
        "Write @dataclass(frozen=True)",
    ),
    "greedy": (
        analyzer(lambda self, ctx: Found(int(ctx.recording.tokens.max()))),
        "requirements_are_enough",
        "On a recording with nothing but ['states'] it raised AttributeError",
    ),
    "global": (
        analyzer(lambda self, ctx: Found(random.random())),
        "same_seed_same_result",
        "never from a global random state",
    ),
    "reseeds": (analyzer(reseeds), "random_state_unchanged", "It changed torch's random state"),
    "in place": (analyzer(in_place), "recording_unchanged", "It changed kept of the recording"),
    "trains": (
        analyzer(trains),
        "model_unchanged",
        "It changed the training mode of the module",
    ),
    "padding": (
        analyzer(lambda self, ctx: Found(float(ctx.recording.states.mean()))),
        "padding_is_left_out",
        "Use rec.flat()",
    ),
    "progress": (
        analyzer(lambda self, ctx: Found(ctx.progress(3, 2))),
        "progress_is_tolerated",
        "it takes (done, total) with 0 <= done <= total",
    ),
    "summary": (
        analyzer(lambda self, ctx: Shown(1)),
        "summary_and_figure",
        "return a list of pairs (measure, value)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_analyzer_fails_its_check(case):
    cls, name, message = BAD[case]
    failed = names_of_failures(analyzer_checks(cls))
    assert message in failed[name]
    if case not in ("old", "global"):  # that cannot be run, or never gives the same twice
        assert set(failed) <= {name, "random_state_unchanged", "same_seed_same_result"}
    with pytest.raises(AssertionError, match=f"- {name}: "):
        check_analyzer(cls)


def test_good_ones_pass_as_class_and_instance():
    check_analyzer(Good)
    check_analyzer(Good())
    check_analyzer(ManifoldDimension())


def test_an_analyzer_that_remembers_is_found_as_an_instance():
    assert "same_seed_same_result" in names_of_failures(analyzer_checks(analyzer(remembers)()))


def test_what_an_analyzer_raises_is_a_sentence_with_its_cause():
    def broken(self, ctx):
        raise KeyError("nothing")

    (check,) = (c for c in analyzer_checks(analyzer(broken)) if c.name == "model_unchanged")
    with pytest.raises(AssertionError, match="Bad raised KeyError in the check") as raised:
        check()
    assert isinstance(raised.value.__cause__, KeyError)


def test_a_sample_of_ones_own():
    class Wide(dynprobe.Analyzer):
        def analyze(self, ctx):
            assert ctx.recording.layout.names == ("rate",), "needs rates"
            return Found(1)

    assert "contract" not in names_of_failures(analyzer_checks(Wide))
    assert "needs rates" in names_of_failures(analyzer_checks(Wide))["result_is_plain"]
    rec = dynprobe.Recording.from_arrays(
        torch.randn(12, 5, 2), layout=dynprobe.Layout.of(rate=2), lengths=[3] * 11 + [5]
    )
    check_analyzer(Wide, sample=Sample(rec))


class Mean(dynprobe.StreamingAnalyzer):
    """Correct: sums and counts."""

    def init(self, meta):
        return torch.zeros(meta.layout.size, dtype=torch.float64), 0

    def update(self, acc, chunk):
        flat = chunk.flat().double()
        return acc[0] + flat.sum(0), acc[1] + len(flat)

    def merge(self, a, b):
        return a[0] + b[0], a[1] + b[1]

    def finalize(self, acc, ctx):
        return Found(acc[0] / acc[1])


class MeanOfMeans(Mean):
    def update(self, acc, chunk):
        return acc[0] + chunk.flat().double().mean(0), acc[1] + 1


class Last(Mean):
    def merge(self, a, b):
        return b


class Lopsided(Mean):
    def merge(self, a, b):
        return a[0] + 0.5 * b[0], a[1] + b[1]


class InPlace(Mean):
    def update(self, acc, chunk):
        flat = chunk.flat().double()
        acc[0].add_(flat.sum(0))
        return acc[0], acc[1] + len(flat)


class LooksBack(Mean):
    def finalize(self, acc, ctx):
        return Found(acc[0] / ctx.recording.lengths.sum())


class LooksBackAndFails(Mean):
    def finalize(self, acc, ctx):
        return Found(ctx.recording.lengths.max())


@pytest.mark.parametrize(
    ("cls", "name", "message"),
    [
        (LooksBack, "states_may_have_gone_by", "put what it needs into acc"),
        (LooksBackAndFails, "states_may_have_gone_by", "put what it needs into acc"),
        (MeanOfMeans, "batches_add_up", "Three batches give another result than one"),
        (MeanOfMeans, "empty_batches_add_nothing", "A batch without sequences"),
        (Last, "merge_is_commutative", "merge(a, b) and merge(b, a)"),
        (Lopsided, "merge_is_associative", "merge(a, merge(b, c))"),
        (InPlace, "accumulators_are_not_changed", "acc + x, not acc += x"),
    ],
)
def test_a_bad_streaming_analyzer_fails_its_check(cls, name, message):
    check_analyzer(Mean)
    assert message in names_of_failures(analyzer_checks(cls))[name]


def test_expected_failures_are_strict_and_known():
    cls = BAD["padding"][0]
    expected = {"padding_is_left_out": "it counts padding on purpose"}
    check_analyzer(cls, expected_failures=expected)
    with pytest.raises(AssertionError, match="and passes; take it out of expected_failures"):
        check_analyzer(Good, expected_failures=expected)
    with pytest.raises(UnknownNameError, match="Did you mean 'padding_is_left_out'"):
        analyzer_checks(cls, expected_failures={"padding_is_left": "?"})
    marked = analyzer_checks(cls, expected_failures=expected)
    (param,) = (c for c in marked if not hasattr(c, "name"))
    assert param.id == "padding_is_left_out"
    assert param.marks[0].kwargs == {"reason": "it counts padding on purpose", "strict": True}


def test_in_pytest_they_have_names_and_marks(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "import dynprobe, pytest\n"
        "from dataclasses import dataclass\n"
        "from dynprobe.testing import analyzer_checks\n"
        "@dataclass(frozen=True)\n"
        "class R:\n    mean: float\n"
        "class Mine(dynprobe.Analyzer):\n"
        "    def analyze(self, ctx): return R(float(ctx.recording.states.mean()))\n"
        'KNOWN = {"padding_is_left_out": "counts padding"}\n'
        '@pytest.mark.parametrize("check", analyzer_checks(Mine, expected_failures=KNOWN))\n'
        "def test_it(check): check()\n"
    )
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    assert "test_it[padding_is_left_out] XFAIL (counts padding)" in out
    assert "test_it[contract] PASSED" in out
    assert "10 passed, 1 xfailed" in out


# -- recurrences ---------------------------------------------------------------------------------


class Cell(torch.nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.mix = torch.nn.Parameter(0.5 * torch.randn(3, 3, generator=generator))

    def forward(self, x, state):
        return torch.tanh(state @ self.mix.T + x)


class CellRecurrence(dynprobe.Recurrence):
    def __init__(self, module):
        self.module, self.layout, self.input_dim = module, dynprobe.Layout.of(h=3), 3

    def step(self, state, x):
        return self.call(x, state)


def recurrence(**methods):
    return type("Bad", (CellRecurrence,), methods)(Cell())


def in_its_own_dtype(self, state, x):
    return torch.tanh(state.float() @ self.module.mix.T + x.float())


def over_the_batch(self, state, x):
    out = self.call(x, state)
    return out - 0.1 * out.mean(0)


def casts_the_module(self, state, x):
    self.module.to(state.dtype)
    return self.module(x, state)


def negated_root(self, state, x):
    return state - self.step(state, x)


def shifted_affine(self, x):
    return DiagonalMap(torch.full_like(x, 0.5), x)


BAD_MAPS = {
    "contract": (recurrence(api=7), "contract", "supports api 1"),
    "shapes": (
        recurrence(step=lambda self, s, x: s[:, :2]),
        "shapes",
        "step(state, x) gave shape (1, 2) for 1 states of 3 numbers",
    ),
    "random": (
        recurrence(step=lambda self, s, x: torch.nn.functional.dropout(s, 0.5)),
        "deterministic",
        "leave dropout and noise out",
    ),
    "rows": (recurrence(step=over_the_batch), "batch_independence", "not over the batch"),
    "dtype": (recurrence(step=in_its_own_dtype), "dtype_follows_state", "step gave torch.float32"),
    "precision": (
        recurrence(step=lambda self, s, x: s * (1.0 if s.dtype == torch.float64 else 0.9)),
        "precisions_agree",
        "depends on the dtype",
    ),
    "jacobian": (
        recurrence(jacobian=lambda self, s, x: torch.eye(3).to(s).expand(len(s), 3, 3)),
        "jacobian",
        "jacobian is not the derivative",
    ),
    "detached": (
        recurrence(step=lambda self, s, x: torch.tanh(s.detach() + x)),
        "jacobian",
        "the step cuts the graph (detach",
    ),
    "input_jacobian": (
        recurrence(input_jacobian=lambda self, s, x: torch.eye(3).to(s).expand(len(s), 3, 3)),
        "input_jacobian",
        "input_jacobian is not the derivative",
    ),
    "root": (recurrence(root=negated_root), "root", "points the other way than F(s, x) - s"),
    "root_jacobian": (
        recurrence(root_jacobian=lambda self, s, x: self.jacobian(s, x)),
        "root_jacobian",
        "root_jacobian is not the derivative",
    ),
    "bound": (
        recurrence(bound=lambda self, x: torch.full_like(x, 0.1)),
        "bound",
        "A state inside bound(x) steps out of it",
    ),
    "affine": (
        recurrence(affine=shifted_affine),
        "affine",
        "affine(x).apply(s) is not step(s, x)",
    ),
    "touched": (
        recurrence(step=casts_the_module),
        "untouched",
        "Using the map changed",
    ),
}


@pytest.mark.parametrize("case", BAD_MAPS)
def test_a_bad_recurrence_fails_its_check(case):
    subject, name, message = BAD_MAPS[case]
    check_recurrence(CellRecurrence(Cell()))
    assert message in names_of_failures(recurrence_checks(subject))[name]


def test_a_step_that_is_not_the_forward():
    class Scaled(CellRecurrence):
        def step(self, state, x):
            return self.call(x, state) * 1.1

    try:
        dynprobe.register_recurrence(Cell)(Scaled)
        failed = names_of_failures(recurrence_checks(Cell()))
        dynprobe.register_recurrence(Cell, override=True)(CellRecurrence)
        check_recurrence(Cell())
    finally:
        from dynprobe.recurrences.registry import unregister_recurrence

        unregister_recurrence(Cell)
    assert set(failed) == {"forward"}
    assert "step() must be what the module's forward does" in failed["forward"]


def test_what_cannot_even_be_made_fails_as_a_check():
    class Sized(Mean):
        def __init__(self, size):
            self.size = size

    failed = names_of_failures(analyzer_checks(Sized))
    assert "Give every parameter of __init__ a default" in failed["contract"]
    bad = CellRecurrence(Cell())
    bad.layout = 3
    assert "layout is 3; say what" in names_of_failures(recurrence_checks(bad))["contract"]


def test_an_unregistered_module():
    with pytest.raises(PluginError, match="Linear is not registered as a recurrence"):
        check_recurrence(torch.nn.Linear(2, 2))


def test_every_check_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
    checks = [*analyzer_checks(Mean), *recurrence_checks(torch.nn.GRUCell(2, 3))]
    assert [c.name for c in checks if f"`{c.name}`" not in page] == []
