"""The reproduction: small networks through all of it, and the table's arithmetic."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest

from dynprobe.errors import DataError
from dynprobe.study.reproduce import run as runner
from dynprobe.study.reproduce.figures import pictures
from dynprobe.study.reproduce.measures import expected_dims
from dynprobe.study.reproduce.page import blocks, render_reproduction
from dynprobe.study.reproduce.references import REFERENCES, Cell, Compared, compare
from dynprobe.study.reproduce.rows import Row, read_rows, write_rows
from dynprobe.study.reproduce.run import ROWS, Reproduction, reproduce
from dynprobe.study.reproduce.settings import L2, Setting, full_settings, quick_settings
from dynprobe.study.settling import Settling

BRIEF = {
    "seeds": (0, 1),
    "units": 8,
    "length": 10,
    "steps": 60,
    "settling": Settling(min_steps=40, check_every=20, patience=2, sequences=60),
}
SMALL = [
    Setting("categorical", 3, **BRIEF),
    Setting("ordered", 3, l2=1e-2, full=False, **BRIEF),
    Setting("multilabel", 2, full=False, **BRIEF),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return reproduce(SMALL, tmp_path_factory.mktemp("reproduction"))


def row(**changes):
    values = {
        "task": "categorical", "n": 3, "model": "gru", "units": 128, "length": 50,
        "l2": L2, "seed": 0, "steps": 9, "accuracy": 0.99,
        "measure": "participation ratio", "value": 2.1,
    }  # fmt: skip
    return Row(**(values | changes))


def test_every_network_has_its_numbers_and_they_are_finite(found):
    assert not found.interrupted
    assert {(r.task, r.seed) for r in found.rows} == {
        (task, seed) for task in ("categorical", "ordered", "multilabel") for seed in (0, 1)
    }
    by_measure = {r.measure: r.value for r in found.rows if (r.task, r.seed) == ("categorical", 0)}
    for name in (
        "participation ratio",
        "components for N/(N+1)",
        "maximum likelihood, k = 10",
        "correlation dimension, nearest",
        "correlation dimension, all distances",
        "readout angle, mean",
        "same answer in random order",
        "latent-semantic participation ratio",
        "push of the neutral word inside",
        "zero input: time constant 1, median",
        "mean input: distinct fixed points",
    ):
        assert math.isfinite(by_measure[name]), name
    assert by_measure["components for 90 %"] == int(by_measure["components for 90 %"])
    shares = [by_measure[f"variance share {i}"] for i in range(1, 9)]
    assert sum(shares) == pytest.approx(1)
    assert by_measure["participation ratio"] == pytest.approx(1 / sum(s * s for s in shares))
    assert all(0 <= r.accuracy <= 1 for r in found.rows)
    assert found.failed == []


def test_shares_of_seeds_are_of_all_seeds(found):
    for held in ("zero", "mean"):
        shares = [
            r.value
            for r in found.rows
            if (r.task, r.seed) == ("categorical", 0)
            and r.measure.startswith(f"{held} input: share of seeds")
        ]
        assert len(shares) == 2
        assert 0 <= sum(shares) <= 1


def test_the_same_command_trains_and_measures_nothing_twice(found, monkeypatch):
    before = (found.folder / ROWS).read_bytes()
    monkeypatch.setattr(runner, "networks", lambda *a, **k: pytest.fail("trained again"))
    again = reproduce(SMALL, found.folder)
    assert len(again.rows) == len(found.rows)
    assert (found.folder / ROWS).read_bytes() == before


def test_one_network_that_is_missing_is_measured_from_its_file(found, tmp_path, monkeypatch):
    kept = [r for r in found.rows if (r.task, r.seed) != ("ordered", 1)]
    write_rows(tmp_path / ROWS, kept)
    (tmp_path / "networks").symlink_to(found.folder / "networks")
    seen = []
    measure = runner.measure
    monkeypatch.setattr(
        runner, "measure", lambda *a, **k: seen.append(k["seed"]) or measure(*a, **k)
    )
    again = reproduce(SMALL, tmp_path)
    assert seen == [1]
    key = lambda r: (r.network, r.measure)  # noqa: E731
    for a, b in zip(sorted(again.rows, key=key), sorted(found.rows, key=key), strict=True):
        assert a.network == b.network
        assert a.value == pytest.approx(b.value, rel=1e-4, abs=1e-6, nan_ok=True), a.measure


def test_an_interrupted_run_keeps_what_it_has(tmp_path, monkeypatch):
    calls = []

    def stopped(*args, **kwargs):
        calls.append(kwargs["seed"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*args, **kwargs)

    measure = runner.measure
    monkeypatch.setattr(runner, "measure", stopped)
    found = reproduce(SMALL[1:], tmp_path)
    assert found.interrupted
    assert {r.seed for r in read_rows(tmp_path / ROWS)} == {0}
    assert "goes on from here" in render_reproduction(found, quick=True)


def test_the_page_and_every_figure(found):
    drawn = list(pictures(found))
    assert [p.problem for p in drawn if p.figure is None] == []
    names = {p.name for p in drawn}
    assert {"triangle", "ratio", "components", "angles", "speed", "cuts", "times"} <= names
    assert {"ordered3", "square"} <= names
    assert {"ordered5", "cube"}.isdisjoint(names)  # not trained
    page = render_reproduction(found, quick=True)
    assert page.count("<figure>") == len(drawn)
    assert "Quick run" in page
    assert "Quick run" not in render_reproduction(found, quick=False)


def test_rows_survive_the_file_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "rows.csv"
    assert read_rows(path) == []
    rows = [row(), row(seed=1, value=float("nan")), row(measure='a "b", c')]
    write_rows(path, rows)
    again = read_rows(path)
    assert again[0] == rows[0]
    assert math.isnan(again[1].value)
    assert again[2].measure == 'a "b", c'
    with path.open(newline="") as file:
        lines = list(csv.reader(file))
    lines[2][1] = "three"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    with pytest.raises(DataError, match="line 3: .*three"):
        read_rows(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"columns are \['a', 'b'\]"):
        read_rows(path)


def test_a_number_is_met_by_the_mean_over_seeds_and_a_count_by_every_seed():
    cell = Cell("categorical", 3, L2, "participation ratio", 2.0, 0.1)
    assert Compared(cell, L2, (1.8, 2.3)).met  # the mean, 2.05
    assert not Compared(cell, L2, (2.2,)).met
    assert not Compared(cell, L2, ()).met
    exact = replace(cell, within=0.0)
    assert Compared(exact, L2, (2.0, 2.0)).met
    assert not Compared(exact, L2, (2.0, 3.0, 1.0)).met


def test_the_nearest_penalty_counts_where_the_paper_names_none():
    reference = next(r for r in REFERENCES if r.title.startswith("2 and 3 labels"))
    rows = [
        row(task="multilabel", n=2, l2=l2, value=value)
        for l2, value in ((1e-4, 2.9), (L2, 2.3), (1e-3, 2.10))
    ]
    two, three = compare(reference, rows)
    assert (two.l2, two.met) == (1e-3, True)
    assert three.values == ()
    ordered = next(r for r in REFERENCES if r.title.startswith("Ordered, 5"))
    rows = [
        row(task="ordered", n=5, l2=1e-3, model=model, value=value)
        for model, value in (("gru", 2.0), ("gru_reset_first", 3.0))
    ]
    for asked in ("gru", "lstm"):  # the row belongs to one kind of unit
        first, second = compare(ordered, rows, asked)
        assert first.values == ()
        assert second.met


def ratio_block(rows, tmp_path, settings=None):
    given = full_settings() if settings is None else settings
    made = blocks(Reproduction(rows, tmp_path, given, False))
    assert len(made) == 14
    return next(b for b in made if b.title.startswith("Participation ratio for N"))


def test_blocks_tell_missed_from_not_measured(tmp_path):
    five = [row(seed=s, value=2.08) for s in range(5)]
    block = ratio_block(five, tmp_path)
    assert block.verdict == "not measured"  # one N of nine
    assert [n.verdict for n in block.lines][:3] == ["not measured", "met", "not measured"]
    assert ratio_block([row(seed=s, value=4.0) for s in range(5)], tmp_path).verdict == "missed"


def test_a_seed_that_is_missing_or_has_no_number_is_not_passed_over(tmp_path):
    four = [row(seed=s, value=2.08) for s in range(4)]
    assert ratio_block(four, tmp_path).lines[1].verdict == "in part"
    undone = [*four, row(seed=4, value=math.nan)]
    assert ratio_block(undone, tmp_path).lines[1].verdict == "missed"


def test_networks_of_other_sizes_in_the_folder_are_left_out(tmp_path):
    five = [row(seed=s, value=2.08) for s in range(5)]
    small = [row(seed=s, units=48, length=25, value=9.0) for s in range(2)]
    both = ratio_block([*five, *small], tmp_path)
    assert (both.lines[1].seeds, both.lines[1].verdict) == (5, "met")
    assert ratio_block([*five, *small], tmp_path, quick_settings()).lines[1].ours.startswith("9")


def test_a_network_that_cannot_be_measured_does_not_stop_the_others(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        if kwargs["seed"] == 0:
            raise RuntimeError("no such luck")
        return measure(*args, **kwargs)

    measure = runner.measure
    monkeypatch.setattr(runner, "measure", broken)
    found = reproduce(SMALL[1:2], tmp_path)
    assert [r.measure for r in found.failed] == ["failed: RuntimeError: no such luck"]
    assert {r.seed for r in found.rows} == {0, 1}
    assert "no such luck" in render_reproduction(found, quick=True)


def test_networks_that_were_trained_for_less_are_trained_and_measured_anew(tmp_path):
    brief = SMALL[2]
    longer = replace(brief, steps=64, settling=replace(brief.settling, min_steps=64))
    first = reproduce([brief], tmp_path / "brief")
    folder = tmp_path / "longer"
    folder.mkdir()
    write_rows(folder / ROWS, first.rows)
    again = reproduce([longer], folder)
    assert {r.steps for r in again.rows} == {64}
    assert len(again.rows) == len(first.rows)


def test_what_is_planned():
    full = full_settings()
    assert len({s.key for s in full}) == len(full)
    sweep = {s.n for s in full if (s.kind, s.cell, s.l2) == ("categorical", "gru", L2)}
    assert sweep == set(range(2, 11))
    assert all(len(s.seeds) >= 3 for s in full)
    assert all(
        len(s.seeds) == 5 for s in full if (s.kind, s.cell, s.l2) == ("categorical", "gru", L2)
    )
    needed = {(c.kind, c.n, c.l2) for r in REFERENCES for c in r.cells if c.model is None}
    assert needed <= {(s.kind, s.n, s.l2) for s in full}
    assert all(s.units < 128 for s in quick_settings())
    assert [expected_dims(k, 3) for k in ("categorical", "multilabel", "ordered")] == [2, 3, 1]
    assert SMALL[0].task().sample(5, seed=0).tokens.shape == (5, 10)


def test_the_command_writes_the_page_and_says_where(found, monkeypatch):
    from typer.testing import CliRunner

    from dynprobe.cli import app
    from dynprobe.study.reproduce import settings

    monkeypatch.setattr(settings, "quick_settings", lambda: SMALL)
    done = CliRunner().invoke(
        app, ["reproduce", "--quick", "--out", str(found.folder)], env={"COLUMNS": "200"}
    )
    assert done.exit_code == 0, done.output
    assert "rows.csv" in done.output
    page = (found.folder / "reproduction.html").read_text()
    assert "Quick run" in page
    assert "rows met" in page
