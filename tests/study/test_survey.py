"""The survey: tiny networks through all of it, the choice of settings, the page and its rules."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dynprobe.cli import app
from dynprobe.errors import DataError
from dynprobe.study.survey import networks as trainer
from dynprobe.study.survey import run as runner
from dynprobe.study.survey.answer_figure import draw_answer
from dynprobe.study.survey.baseline import BASELINE
from dynprobe.study.survey.dimension_figure import PREDICTIONS, draw_dimensions
from dynprobe.study.survey.networks import Network, train_networks
from dynprobe.study.survey.page import blocks, interval, render_survey
from dynprobe.study.survey.plan import costs, described
from dynprobe.study.survey.rows import COMPLETE, MEMORY, MODEL, STREAM, Row, in_full, read_rows
from dynprobe.study.survey.rules import RULES, findings, in_common
from dynprobe.study.survey.run import ROWS, Survey, chosen, survey
from dynprobe.study.survey.settings import (
    MODELS,
    Budget,
    Grid,
    Settings,
    Topic,
    full_settings,
    quick_settings,
)
from dynprobe.study.survey.texts import EMOTIONS, read_text
from dynprobe.study.survey.watched import material

GRID = Topic("categorical", 3, (0, 1), grid=True, length=8)
SMALL = Settings(
    models=("gru", "linear transformer 1", "mamba"),
    topics=(GRID, Topic("categorical", 2, (0,), length=8)),
    budget=Budget(steps=12, batch=16, hidden=16),
    grids={
        "gru": Grid((0.1,), (1e-4, 1e-3)),
        "linear transformer 1": Grid((3e-3,), (1e-5,)),
        "mamba": Grid((3e-3,), (1e-5,)),
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("survey")


@pytest.fixture(scope="module")
def found(folder: Path) -> Survey:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            runner, "material", lambda task: material(task, sequences=24)
        )  # fewer than the survey has
        return survey(SMALL, folder)


def row(measure: str, value: float, notion: str = MEMORY, **changes: object) -> Row:
    values = {
        "task": "categorical", "n": 3, "model": "gru", "notion": notion, "lr": 0.1, "l2": 5e-4,
        "seed": 0, "steps": 9, "accuracy": 0.99, "measure": measure, "value": value,
    }  # fmt: skip
    return Row(**(values | changes))  # type: ignore[arg-type]


def test_every_network_has_its_numbers_in_columns_that_are_not_mixed(found: Survey) -> None:
    assert not found.interrupted
    trained = [r for r in found.rows if r.model != BASELINE]
    whole = in_full(trained)
    assert len({r.network for r in trained}) == 4 + 3 + 3
    assert {(r.model, r.n, r.seed) for r in whole} == {
        (m, n, s) for m in SMALL.models for n, s in ((3, 0), (3, 1), (2, 0))
    }
    assert not [r.measure for r in found.rows if "failed" in r.measure]
    for model, prefix in (("gru", ""), ("linear transformer 1", "S/z: "), ("mamba", "")):
        own = {(r.notion, r.measure): r.value for r in whole if r.model == model and r.n == 3}
        for notion, measure in (
            (MODEL, "validation loss"),
            (MODEL, "same answer in random order"),
            (MODEL, "memory horizon at lag 5"),
            (STREAM, "participation ratio"),
            (STREAM, "share explained by the word"),
            (STREAM, "push of evidence inside"),
            (MEMORY, f"{prefix}participation ratio"),
            (MEMORY, f"{prefix}participation ratio, random inputs"),
            (MEMORY, f"{prefix}share of the logits its linear readout explains"),
            (MEMORY, f"{prefix}deflections, cosine with the change of the logits"),
            (MEMORY, "left of a push off the manifold"),
        ):
            assert math.isfinite(own[notion, measure]), (model, measure)
        assert (MEMORY, "time constant 1") in own
    transformer = [r for r in whole if r.model == "linear transformer 1"]
    assert {r.value for r in transformer if r.measure == "time constant 1"} == {math.inf}
    left = [r.value for r in transformer if r.measure == "left of a push off the manifold"]
    assert left == pytest.approx([1.0] * 3)


def test_word_counts_stand_beside_the_networks_of_each_task(found: Survey) -> None:
    for n in (3, 2):
        own = [r for r in found.rows if (r.model, r.n) == (BASELINE, n)]
        numbers = {r.measure: r.value for r in own}
        for by in ("word counts", "a bag of words"):
            ratio = numbers[f"participation ratio predicted by {by}"]
            assert ratio == pytest.approx(n - 1, rel=0.02)
            assert numbers[f"components for 95 % predicted by {by}"] == n - 1
        assert numbers["components of word counts above shuffled labels"] == n - 1
        assert own[0].accuracy == pytest.approx(1.0, abs=0.03)  # counts decide


def test_the_same_command_trains_and_measures_nothing_twice(
    found: Survey, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / ROWS).read_bytes()
    monkeypatch.setattr(runner, "train_networks", lambda *a, **k: pytest.fail("trained again"))
    again = survey(SMALL, folder)
    assert (folder / ROWS).read_bytes() == before
    assert [r.network for r in again.rows] == [r.network for r in found.rows]


def test_rows_that_are_lost_are_measured_anew_from_the_files(
    found: Survey, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_train_stack", "_train_one"):
        monkeypatch.setattr(trainer, name, lambda *a, **k: pytest.fail("trained again"))
    network = Network(GRID, "gru", 0.1, 1e-4, 0, SMALL.budget)
    task = material(runner.COUNTING["categorical"](3, 8), sequences=4).task
    (one,) = train_networks([network], task, folder / runner.NETWORKS)
    assert one.steps == 12
    assert not one.model.training


def test_a_stopped_survey_keeps_what_it_has_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SMALL, models=("gru",), topics=(GRID,))
    monkeypatch.setattr(runner, "material", lambda task: material(task, sequences=12))
    real = runner.full_measures

    def stop(*args: object, **named: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "full_measures", stop)
    first = survey(settings, tmp_path)
    assert first.interrupted
    assert len({r.network for r in first.rows if r.model != BASELINE}) == 2
    monkeypatch.setattr(runner, "full_measures", real)
    second = survey(settings, tmp_path)
    assert not second.interrupted
    assert len(in_full(second.rows)) > 100


def test_numbers_of_another_budget_are_not_mixed_in(found: Survey, folder: Path) -> None:
    with pytest.raises(DataError, match="networks of 12 steps, and this survey trains for 13"):
        survey(replace(SMALL, budget=replace(SMALL.budget, steps=13)), folder)


def evaluated(found: dict[tuple[float, float], tuple[float, float]]) -> list[Row]:
    """Rows of a grid: (rate, L2) -> (validation accuracy, loss)."""
    return [
        row(measure, value, MODEL, task=GRID.label, lr=lr, l2=l2)
        for (lr, l2), (accuracy, loss) in found.items()
        for measure, value in (("validation accuracy", accuracy), ("validation loss", loss))
    ]


def test_the_strongest_penalty_that_costs_no_accuracy_is_chosen() -> None:
    settings = replace(SMALL, grids={"gru": Grid((0.1, 0.3), (1e-4, 1e-3, 1e-2))})
    rows = evaluated({
        (0.1, 1e-4): (1.0, 0.1), (0.1, 1e-3): (0.995, 0.4), (0.1, 1e-2): (0.985, 0.2),
        (0.3, 1e-4): (0.9, 0.2), (0.3, 1e-3): (0.992, 0.3), (0.3, 1e-2): (0.3, 0.9),
    })  # fmt: skip
    rows.append(  # another seed does not choose
        row("validation accuracy", 1.0, MODEL, task=GRID.label, lr=0.1, l2=1e-2, seed=1)
    )
    assert chosen(rows, settings, "gru", SMALL.topics[1]) == (0.3, 1e-3)
    assert chosen(rows, settings, "gru", Topic("ordered", 5)) == (0.3, 1e-3)  # the same family
    with pytest.raises(DataError, match="2 of 6 settings of the grid"):
        chosen(rows[3:], settings, "gru", GRID)
    with pytest.raises(DataError, match="'text' has a grid"):
        chosen(rows, settings, "gru", Topic("sst5", 5))


def test_everything_is_stated_and_the_budget_is_one() -> None:
    full = full_settings()
    assert set(full.models) == set(MODELS)
    asked = {(t.name, t.n) for t in full.topics}
    assert asked == {("categorical", n) for n in range(2, 7)} | {
        ("ordered", 5), ("multilabel", 2), ("ag_news", 4), ("sst5", 5), ("goemotions", 4),
    }  # fmt: skip
    families = [t.family for t in full.topics]
    for family in set(families):  # the first task of a family is the one with the grid
        of_family = [t for t in full.topics if t.family == family]
        assert [t.grid for t in of_family] == [True] + [False] * (len(of_family) - 1)
        assert 0 in of_family[0].seeds
    for model in full.models:
        for topic in full.topics:
            grid = full.grid(model, topic)
            assert (len(grid.rates), len(grid.penalties)) == (3, 3)
    assert set(quick_settings().models) < set(MODELS)
    assert Topic("categorical", 3, length=25).label == "categorical, length 25"


def test_the_plan_counts_runs_as_the_survey_does(found: Survey) -> None:
    by_model = {cost.model: cost for cost in costs(SMALL)}
    for model, cost in by_model.items():
        assert cost.runs == len({r.network for r in found.rows if r.model == model})
        assert cost.step > 0
    assert (by_model["gru"].runs, by_model["gru"].stacks) == (4, 3)
    assert described(list(by_model.values()))[-1].startswith("all: ")


def test_an_interval_is_student_s_and_endless_values_are_said() -> None:
    assert interval([1.0, 2.0, 3.0]) == "2 ± 2.48"  # 4.303 / sqrt(3)
    assert interval([0.25]) == "0.25"
    assert interval([math.inf, math.inf]) == "∞"
    assert interval([math.inf, 2.0]) == "∞ in 1 of 2, else 2"
    assert interval([math.nan]) == "-"


# -- the rules -----------------------------------------------------------------------------------

RNN = [
    row("same answer in random order", 0.99, MODEL),
    row("memory horizon at lag 1", 1.0, MODEL),
    row("memory horizon at lag 50", 0.8, MODEL),
    row("participation ratio", 2.1, STREAM),
    row("participation ratio", 2.1),
    row("share of the logits its linear readout explains", 0.95),
    row("affine in the state", 0.0),
    row("left of a push off the manifold", 0.02),
]


def changed(measure: str, value: float, notion: str = MEMORY) -> list[Row]:
    return [
        replace(r, value=value) if (r.measure, r.notion) == (measure, notion) else r for r in RNN
    ]


def test_a_network_of_which_all_rules_hold_integrates() -> None:
    (finding,) = findings(RNN, ["gru"])
    assert finding.holds == dict.fromkeys(RULES, (1, 1))
    assert "integrates evidence" in finding.sentence


@pytest.mark.parametrize(
    ("rows", "rule", "start"),
    [
        (changed("same answer in random order", 0.9, MODEL), "counts", "gru: no."),
        (changed("memory horizon at lag 50", 0.4, MODEL), "counts", "gru: no."),
        (changed("participation ratio", 2.6, STREAM), "reads out N − 1", "gru: no."),
        (changed("participation ratio", 4.0), "remembers N − 1", "gru: in part."),
        (
            changed("share of the logits its linear readout explains", 0.5),
            "is read linearly",
            "gru: in part.",
        ),
        (changed("left of a push off the manifold", 0.9), "corrects", "gru: in part."),
        (changed("affine in the state", 1.0), "corrects", "gru: in part."),
    ],
)
def test_each_rule_can_fail_by_itself(rows: list[Row], rule: str, start: str) -> None:
    (finding,) = findings(rows, ["gru"])
    assert [r for r in RULES if not finding.verdict(r)] == [rule]
    assert finding.sentence == f"{start} Not supported: {rule}."


def test_what_was_not_learned_or_not_measured_is_not_judged() -> None:
    unlearned = [replace(r, accuracy=0.5) for r in RNN]
    assert "has not learned" in findings(unlearned, ["gru"])[0].sentence
    lacking = [r for r in RNN if "readout" not in r.measure]
    assert findings(lacking, ["gru"])[0].verdict("is read linearly") is None
    assert "Not measured: is read linearly" in findings(lacking, ["gru"])[0].sentence


def test_networks_that_differ_are_counted() -> None:
    both = RNN + [replace(r, n=5, accuracy=0.4, value=4 * r.value) for r in RNN]
    (finding,) = findings(both, ["gru"])
    assert finding.holds["learned"] == (1, 2)
    assert (finding.verdict("learned"), finding.word("learned")) == (None, "1 of 2")
    assert "Networks differ: learned (1 of 2)" in finding.sentence
    # a mean of 0.65 would count; one of the two does not
    other = [replace(r, seed=1) for r in changed("memory horizon at lag 50", 0.4, MODEL)]
    more = changed("memory horizon at lag 50", 0.9, MODEL)
    assert findings(other + more, ["gru"])[0].holds["counts"] == (1, 2)


def test_models_are_held_against_the_network_of_the_same_survey() -> None:
    other = [replace(r, model="mamba") for r in changed("affine in the state", 1.0)]
    lacking = [replace(r, model="rnn") for r in RNN if "readout" not in r.measure]
    found = findings([*RNN, *other, *lacking], ["gru", "mamba", "rnn"])
    assert in_common(found) == {
        "gru": "6 of 6 rules", "mamba": "5 of 6 rules", "rnn": "5 of 5 rules"
    }  # fmt: skip
    assert in_common(found[1:]) == {"mamba": "unknown", "rnn": "unknown"}


def test_the_figure_that_answers_shows_each_number_with_its_judgement() -> None:
    mamba = [replace(r, model="mamba") for r in changed("left of a push off the manifold", 0.9)]
    wider = [replace(r, n=5, value=4.4) for r in RNN if "participation" in r.measure]
    figure = draw_answer([*RNN, *wider, *mamba], ["gru", "mamba", "rnn"])
    assert figure is not None
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert {"GRU", "Mamba"} < set(texts)
    assert "vanilla RNN" not in texts
    assert texts.count("✓ 2.1 / 4.4") == 2  # read out, and carried
    # of the GRU with five classes only dimensions are known, of the other nothing
    assert {"✗ 90.0 / – %", "✓ 2 / – %", "✓ 2.1 / –"} < set(texts)
    assert "–" in texts  # nothing is known of pushes along the manifold
    assert draw_answer([], ["gru"]) is None
    counted = [replace(r, model="bag of words", n=7) for r in RNN]  # no model: no column of its own
    figure = draw_answer([*RNN, *counted], ["gru"])
    assert figure is not None
    assert "✓ 2.1" in [t.get_text() for t in figure.axes[0].texts]


def test_the_figure_of_dimensions_sets_networks_beside_what_is_predicted() -> None:
    mamba = [replace(r, model="mamba", task="ag_news", n=4, value=7.0) for r in RNN]
    counted = [
        replace(RNN[0], model="bag of words", notion=MODEL, value=2.25, measure=measure)
        for measure, *_ in PREDICTIONS
    ]
    figure = draw_dimensions([*RNN, *mamba, *counted], ["gru", "mamba", "rnn"])
    assert figure is not None
    for axes in figure.axes:
        points = [float(line.get_ydata()[0]) for line in axes.lines if line.get_marker() != "None"]
        assert points == [2.1, 7.0]
        levels = [list(line.get_ydata()) for line in axes.lines if line.get_marker() == "None"]
        assert levels.count([2.25, 2.25]) == len(PREDICTIONS)
    labels = [t.get_text() for t in figure.axes[1].get_xticklabels()]
    assert labels == ["3 classes", "AG News\n(4 classes)"]
    names = [t.get_text() for t in figure.legends[0].get_texts()]
    assert names == ["GRU", "Mamba", *(name for _, name, *_ in PREDICTIONS)]
    assert draw_dimensions(counted, ["gru"]) is None


# -- the page ------------------------------------------------------------------------------------


def test_the_page_shows_every_number_and_says_what_is_missing(found: Survey) -> None:
    page = render_survey(found, quick=True)
    assert page.count("<figure>") == 5
    assert "could not be drawn" not in page
    assert "Quick run" in page
    for model in SMALL.models:
        assert f"<li>{model}: " in page
    made = blocks(found.rows, SMALL.models)
    assert [b.notion for b in made] == [MODEL, STREAM, MEMORY] * 2
    lines = dict(made[2].lines)
    assert lines["S/z: participation ratio"][0] == ""  # a GRU has no normaliser
    assert "±" in lines["participation ratio"][0]
    assert COMPLETE not in dict(made[0].lines)
    failed = replace(
        found, rows=[*found.rows, row("failed: ValueError: <b>", math.nan)], interrupted=True
    )
    again = render_survey(failed, quick=False)
    assert "failed: ValueError: &lt;b&gt;" in again
    assert "Stopped before" in again


def test_without_rows_there_is_still_a_page() -> None:
    page = render_survey(Survey([], SMALL, ["ag_news"], False), quick=False)
    assert "Left out for want of data: ag_news" in page


def test_the_command_prints_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynprobe.study.survey.settings.quick_settings", lambda: SMALL)
    result = CliRunner().invoke(app, ["survey", "--quick", "--plan"])
    assert result.exit_code == 0
    assert "h of training on one core" in result.output


# -- texts ---------------------------------------------------------------------------------------


def test_comments_with_one_of_four_emotions_are_taken_in_equal_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "goemotions"
    folder.mkdir()
    names = ["joy", *EMOTIONS]
    (folder / "labels.txt").write_text("\n".join(names))
    rows = [(f"text number {i}", str(1 + i % 4)) for i in range(80)]
    rows += [("both", "1,2"), ("other", "0"), ("more anger", "2"), ("with joy", "0,1")]
    with (folder / "train.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows((t, label, "id") for t, label in rows)
    task = read_text("goemotions", tmp_path)
    assert task.class_names == sorted(EMOTIONS)
    counts = task.split("train").labels.bincount()
    assert counts.min() == counts.max()
    assert not {"both", "other", "with joy"} & set(task.split("train").texts)
    with pytest.raises(DataError, match="ag_news: there is no such folder"):
        read_text("ag_news", tmp_path)


@pytest.mark.requires("data")
def test_words_of_a_text_have_evidence_and_common_ones_are_probes(data: Path) -> None:
    given = material(read_text("ag_news", data), sequences=8)
    words = given.task.vocabulary
    assert given.evidence.shape == (len(words), 4)
    top = [words[i] for i in given.evidence[:, 1].topk(30).indices.tolist()]
    assert {"team", "game"} & set(top) or {"season", "coach"} & set(top)
    assert len(given.probe_words) == 4
    assert all(len(words[i]) < 8 for i in given.probe_words)
    assert torch.equal(given.exchanges.words[:, 1], given.exchanges.words[:, 0].roll(-1))


def test_rows_are_read_back_with_endless_and_unknown_values(tmp_path: Path) -> None:
    from dynprobe.study.survey.rows import write_rows

    rows = [row("a", math.inf), row("b", math.nan), row("c", 0.125)]
    write_rows(tmp_path / ROWS, rows)
    back = read_rows(tmp_path / ROWS)
    assert back[0] == rows[0]
    assert back[2] == rows[2]
    assert math.isnan(back[1].value)
