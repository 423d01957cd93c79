"""The reproduction: small networks through all of it, and the table's arithmetic."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest
import torch
from matplotlib.text import Text
from torch import nn

import dynprobe
from dynprobe.errors import DataError
from dynprobe.study.reproduce import news
from dynprobe.study.reproduce import run as runner
from dynprobe.study.reproduce.figures import pictures
from dynprobe.study.reproduce.measures import LATEST, expected_dims
from dynprobe.study.reproduce.news import NEWS, PLANNED, REGRESSION, SUMMED
from dynprobe.study.reproduce.page import blocks, render_reproduction
from dynprobe.study.reproduce.pushes import deflections, mean_steps
from dynprobe.study.reproduce.references import (
    GRU,
    OTHERS,
    REFERENCES,
    Cell,
    Compared,
    Ours,
    compare,
)
from dynprobe.study.reproduce.rows import Row, read_rows, write_rows
from dynprobe.study.reproduce.run import ROWS, Reproduction, reproduce
from dynprobe.study.reproduce.settings import L2, TIED, Setting, full_settings, quick_settings
from dynprobe.study.reproduce.thinned import thinned
from dynprobe.study.settling import Settling
from dynprobe.tasks import categorical

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
        "l2": L2, "seed": 0, "steps": 10_000, "accuracy": 0.99,
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
        "maximum likelihood, k = 10, arithmetic mean",
        "push of the neutral word inside",
        "deflection of the neutral word inside",
        "angle between deflections, largest",
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
    assert {"ordered5", "ordered5_gru", "cube"}.isdisjoint(names)  # not trained
    for picture in drawn:
        picture.figure.canvas.draw()
        said = [t.get_text() for t in picture.figure.findobj(Text)]
        assert not [t for t in said if "mathdefault" in t], picture.name  # an unread formula
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
    for asked in (GRU, Ours("lstm")):  # the row belongs to one kind of unit
        first, second = compare(ordered, rows, asked)
        assert first.values == ()
        assert second.met


def test_other_penalties_and_phrases_with_ties_are_not_mixed_with_the_papers():
    reference = next(r for r in REFERENCES if r.title.startswith("3 classes: shares"))
    given = ((Ours(), "categorical", "gru", L2), (Ours(ties=True), TIED, "gru", L2),
             (Ours("lstm"), "categorical", "lstm", L2),
             (Ours("lstm", 2e-3), "categorical", "lstm", 2e-3))  # fmt: skip
    rows = [
        row(task=task, model=model, l2=l2, value=1.0 + i)
        for i, (_, task, model, l2) in enumerate(given)
    ]
    for i, (ours, *_) in enumerate(given):
        assert compare(reference, rows, ours)[-1].values == (1.0 + i,)
    assert compare(reference, rows[:1], Ours(ties=True))[-1].values == ()
    labels = next(r for r in REFERENCES if r.title.startswith("2 and 3 labels"))
    assert compare(labels, [row(task="multilabel", n=2)], Ours(ties=True))[0].values == ()
    names = [ours.name for ours in (GRU, *OTHERS)]
    assert len(set(names)) == len(names)
    assert {"GRU, phrases with ties", "LSTM, L2 0.002", "vanilla RNN"} < set(names)


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


def test_lines_name_the_networks_they_are_of(tmp_path):
    made = blocks(Reproduction([], tmp_path, full_settings(), False))
    lines = {line.what for block in made for line in block.lines}
    assert "accuracy (categorical with ties 10, L2 0.0005)" in lines
    assert "variance share 1 (AG News 4)" in lines
    assert "participation ratio (ordered 3, L2 0.01)" in lines


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


def test_rows_of_an_older_version_are_measured_anew(found, tmp_path):
    (tmp_path / "networks").symlink_to(found.folder / "networks")
    mine = [r for r in found.rows if r.task == "ordered"]
    write_rows(tmp_path / ROWS, [r for r in mine if r.measure != LATEST])
    again = reproduce(SMALL[1:2], tmp_path)
    assert sorted((r.network, r.measure) for r in again.rows) == sorted(
        (r.network, r.measure) for r in mine
    )


def test_a_network_that_failed_is_tried_again(found, tmp_path):
    (tmp_path / "networks").symlink_to(found.folder / "networks")
    mine = [r for r in found.rows if r.task == "ordered"]
    failed = replace(mine[0], measure="failed: MemoryError: ", value=math.nan)
    write_rows(tmp_path / ROWS, [failed, *(r for r in mine if r.network != failed.network)])
    again = reproduce(SMALL[1:2], tmp_path)
    assert again.failed == []
    assert len(again.rows) == len(mine)


def test_a_network_that_had_not_settled_goes_on_where_more_steps_are_allowed(tmp_path):
    short = replace(SMALL[1], settling=replace(SMALL[1].settling, pr_tol=1e-12))
    first = reproduce([short], tmp_path)
    assert {r.steps for r in first.rows} == {60}
    assert all(math.isnan(r.value) for r in first.rows if r.measure == "settled at step")
    again = reproduce([replace(short, steps=80)], tmp_path)
    assert {r.steps for r in again.rows} == {80}
    # of one that goes on the whole stack goes on, and is measured
    settled = [
        replace(r, value=80.0) if (r.seed, r.measure) == (0, "settled at step") else r
        for r in again.rows
    ]
    write_rows(tmp_path / ROWS, settled)
    longest = reproduce([replace(short, steps=100)], tmp_path)
    assert {(r.seed, r.steps) for r in longest.rows} == {(0, 100), (1, 100)}
    assert len(longest.rows) == len(again.rows)


def test_a_network_that_failed_counts_as_missed(tmp_path):
    four = [row(seed=s, value=2.08) for s in range(4)]
    failed = row(seed=4, measure="failed: MemoryError: ", value=math.nan, accuracy=math.nan)
    assert ratio_block([*four, failed], tmp_path).lines[1].verdict == "missed"


def test_a_penalty_whose_networks_failed_is_not_the_nearest():
    reference = next(r for r in REFERENCES if r.title.startswith("2 and 3 labels"))
    rows = [
        row(task="multilabel", n=2, l2=1e-4, measure="failed: MemoryError: ", value=math.nan),
        row(task="multilabel", n=2, value=2.112),
    ]
    for given in (rows, rows[::-1]):
        assert compare(reference, given)[0].met


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path):
    (tmp_path / "rows").write_text("")
    for folder in ("rows", "rows/below"):
        with pytest.raises(DataError, match="cannot be a folder"):
            reproduce(SMALL, tmp_path / folder)


def test_of_near_points_the_first_stays_and_those_that_are_dropped_drop_others():
    points = torch.tensor([[0.0], [0.4], [0.8], [3.0], [0.0], [3.4], [3.6]])
    assert thinned(points, 0.5).flatten().tolist() == [0.0, 3.0]
    assert thinned(points, 0.39).flatten().tolist() == pytest.approx([0.0, 0.4, 0.8, 3.0, 3.4])
    assert thinned(points[:0], 0.5).shape == (0, 1)
    many = torch.randn(1203, 2, generator=torch.Generator().manual_seed(0)).double()
    near = (many[:, None] - many).norm(dim=2) <= 0.1
    kept = [i for i in range(len(many)) if not near[i, :i].any()]
    assert torch.equal(thinned(many, 0.1), many[kept])


def test_a_deflection_is_of_the_same_states_for_every_word():
    """A state that stops at +-2: a word that comes where it pushes no more pushes less."""
    task = categorical(2, length=12)

    def step(h, x):
        return (h + x @ torch.tensor([[1.0], [-1.0], [0.0]], dtype=x.dtype)).clamp(-2, 2)

    batch = task.sample(600, seed=0)
    inputs = nn.functional.one_hot(batch.tokens, 3).float()
    run = [torch.zeros(600, 1)]
    for x in inputs.unbind(1):
        run.append(step(run[-1], x))
    states = torch.stack(run[1:], 1)
    rec = dynprobe.Recording.from_arrays(
        states,
        tokens=batch.tokens,
        inputs=inputs,
        initial=run[0],
        vocabulary=task.vocabulary,
    )
    visited = states.reshape(-1, 1).double()
    found = deflections(
        dynprobe.as_recurrence(step, state_dim=1, input_dim=3), rec, visited, torch.ones(1, 1)
    )
    # -2 to 2, each once: all but the last move by 1
    assert found.words == task.vocabulary
    assert found.inside.flatten().tolist() == pytest.approx([0.8, -0.8, 0.0])
    along = mean_steps(rec, torch.ones(1, 1)).inside.flatten()
    assert 0 < along[0] < 0.7


def test_rows_of_networks_that_were_trained_for_less_are_not_shown(tmp_path):
    five = [row(seed=s, value=2.08) for s in range(4)] + [row(seed=4, value=2.08, steps=5000)]
    assert ratio_block(five, tmp_path).lines[1].verdict == "in part"


@pytest.fixture
def articles(tmp_path, monkeypatch):
    """Two kinds of articles in the place of four, and brief trainings."""
    path = tmp_path / "articles.csv"
    lines = [f"{k % 2},{('goal', 'vote')[k % 2]} of day {k % 7}\n" for k in range(200)]
    path.write_text("label,text\n" + "".join(lines) + f"0,{'long ' * 60}\n")
    planned = tuple((m, s, 5 if m == SUMMED else 0) for m, s, _ in PLANNED)
    for module in (news, runner):
        monkeypatch.setattr(module, "PLANNED", planned)
    return path


def models(rows):
    return sorted({(r.model, r.seed) for r in rows if r.task == NEWS})


def test_news_are_kept_one_classifier_after_the_other(articles, tmp_path, monkeypatch):
    everything = [(REGRESSION, 0), *((SUMMED, s) for s in range(3))]
    trained = []
    train = news.summed_embeddings

    def stopped(task, *, seed, **kwargs):
        assert task.max_length == 50
        assert task.n_dropped == 1
        trained.append(seed)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(task, seed=seed, **kwargs)

    monkeypatch.setattr(news, "summed_embeddings", stopped)
    folder = tmp_path / "out"
    first = reproduce([], folder, news=articles)
    assert first.interrupted
    assert models(read_rows(folder / ROWS)) == everything[:2]
    again = reproduce([], folder, news=articles)
    assert models(again.rows) == everything
    assert trained == [0, 1, 1, 2]  # the first is not trained again
    assert models(reproduce([], folder, news=articles).rows) == everything
    assert len(trained) == 4
    shares = [r.value for r in again.rows if r.model == SUMMED and r.measure.startswith("variance")]
    assert len(shares) == 6  # two classes have two components
    assert all(0 <= share <= 1 for share in shares)


def test_news_that_were_made_otherwise_are_made_anew(articles, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    old = row(task=NEWS, n=4, model=SUMMED, l2=1e-3, steps=3, measure="variance share 1")
    write_rows(folder / ROWS, [old, row()])
    rows = reproduce([], folder, news=articles).rows
    assert old not in rows
    assert row() in rows
    assert models(rows) == [(REGRESSION, 0), *((SUMMED, s) for s in range(3))]


def test_a_seed_that_is_missing_on_news_is_not_passed_over(tmp_path):
    def verdict(seeds):
        rows = [
            row(
                task=NEWS,
                n=4,
                model=SUMMED,
                l2=1e-3,
                seed=s,
                measure=f"variance share {i}",
                value=v,
            )
            for s in seeds
            for i, v in ((1, 0.57), (2, 0.285), (3, 0.145))
        ]
        made = blocks(Reproduction(rows, tmp_path, full_settings(), False))
        return next(b for b in made if b.title.startswith("AG News")).lines[0].verdict

    assert verdict([0]) == "in part"
    assert verdict([0, 1, 2]) == "met"


def test_what_is_planned():
    full = full_settings()
    assert len({s.key for s in full}) == len(full)
    assert Setting(TIED, 3).task() == categorical(3, 50, ties="first")
    assert expected_dims(TIED, 3) == 2
    sweep = {s.n for s in full if (s.kind, s.cell, s.l2) == ("categorical", "gru", L2)}
    assert sweep == set(range(2, 11))
    assert all(len(s.seeds) >= 3 for s in full)
    assert all(
        len(s.seeds) == 5 for s in full if (s.kind, s.cell, s.l2) == ("categorical", "gru", L2)
    )
    cells = [c for r in REFERENCES for c in r.cells]
    needed = {(c.kind, c.n, c.l2, c.model or "gru") for c in cells if c.kind != NEWS}
    assert needed <= {(s.kind, s.n, s.l2, s.cell) for s in full}
    assert {c.model for c in cells if c.kind == NEWS} <= {model for model, _, _ in PLANNED}
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
