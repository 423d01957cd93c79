"""What the page's scripts are given."""

from __future__ import annotations

import copy
import json
from importlib.resources import files

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from report_samples import HOSTILE, bare_report, seeded

from dynprobe import Report
from dynprobe.report.definitions import DEFINITIONS, HEADLINES, definition, explained
from dynprobe.report.headlines import headlines
from dynprobe.report.payload import MAX_NUMBERS, MAX_POINTS, MIN_STEPS, block, payload, rounded
from dynprobe.report.scripts import FILES, own_script
from dynprobe.report.summary import Row, summary


def test_columns_belong_together(three: Report) -> None:
    (layer,) = payload(three)
    for name in ("visited", "final"):
        marks = layer[name]
        lengths = {len(column) for column in marks.values()}
        assert len(lengths) == 1, name
    names = layer["classes"]["names"]
    assert names == ["A", "B", "C"]
    assert set(layer["visited"]["predicted"]) <= {0, 1, 2}
    assert {layer["words"][i] for i in layer["visited"]["token"]} <= {"a", "b", "c", "neutral"}
    for course in layer["courses"]:
        assert len(course["token"]) == len(course["push"]) == course["length"] == 8
        assert len(course["x"]) == 8 + course["started"]
        assert course["right"] == (course["label"] == course["predicted"])
    found = three["fixed_points"]
    assert len(layer["fixed"]["kind"]) == len(layer["fixed"]["x"]) == len(found.unique)
    assert layer["fixed"]["kind"].count("attractor") == int(found.attractors.sum())
    assert len(layer["slow"]["x"]) == int((found.points.status == 1).sum())
    assert layer["readouts"]["names"] == names
    assert layer["missing"] == {}


def test_it_says_how_many_of_how_many(three: Report) -> None:
    (layer,) = payload(three)
    assert layer["told"]["states"] == "320 of 320 states are drawn; 40 of 40 final states."
    assert layer["told"]["courses"] == "40 of 40 sequences."
    many = bare_report(torch.randn(100, 60, 3, generator=seeded(0)).cumsum(1))
    told = payload(many)[0]["told"]
    assert told["states"].startswith(
        "4,000 of 6,000 states are drawn, chosen at random without replacement (seed 0)"
    )
    assert "of 100 sequences: up to 20 of the longest, and 20 at random (seed 0)" in told["courses"]


def test_what_is_missing_has_a_reason(bare: Report, stacked: Report) -> None:
    missing = payload(bare)[0]["missing"]
    assert set(missing) == {"text", "push", "label", "predicted", "still"}
    assert "attach(model, tokens=...)" in missing["text"]
    assert "the recording has none" in missing["push"]
    lower, upper = payload(stacked)
    assert "linear readout" in lower["missing"]["push"]
    assert "push" not in upper["missing"]


def test_many_layers_share_the_page(bare: Report) -> None:
    many = bare_report(torch.randn(100, 60, 3, generator=seeded(0)).cumsum(1))
    report = copy.copy(bare)
    report.views = {f"layer{i}": many.views["neurons"] for i in range(24)}
    layers = payload(report)
    drawn = [len(layer["visited"]["x"]) for layer in layers]
    assert drawn == [MAX_POINTS // 24] * 24
    assert layers[0]["told"]["states"].startswith(f"{MAX_POINTS // 24:,} of 6,000")
    assert len(block(layers)) < 8_000_000
    long = bare_report(torch.randn(90, 300, 3, generator=seeded(0)).cumsum(1))
    report.views = {f"layer{i}": long.views["neurons"] for i in range(24)}
    layers = payload(report)
    steps = MAX_NUMBERS // 24 // (4 * len(layers[0]["courses"]))
    assert MIN_STEPS < steps < 300
    assert all(len(course["x"]) == steps for course in layers[0]["courses"])
    assert f"of longer ones the first {steps} steps" in layers[0]["told"]["courses"]


def test_a_search_with_many_points_says_how_many_are_drawn(
    three: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynprobe.report.payload.MAX_STILL", 0)
    (layer,) = payload(three)
    n = len(three["fixed_points"].unique)
    assert f"the first 0 of {n} fixed points" in layer["told"]["states"]
    assert layer["fixed"]["x"] == layer["fixed"]["kind"] == []


@given(st.text())
def test_a_block_is_json_and_no_markup(text: str) -> None:
    hostile = f"{text}</script><!--{text}"
    made = block({"token": hostile})
    assert not set(made) & set("<>&\u2028\u2029")
    assert json.loads(made) == {"token": hostile}


def test_numbers_are_short_and_what_is_none_is_none() -> None:
    x = torch.tensor([[1.23456789, float("nan")], [float("inf"), -1e-9]])
    assert rounded(x) == [[1.235, None], [None, -1e-9]]


def test_hostile_names_reach_the_page_as_data(text: Report) -> None:
    layers = payload(text)
    assert HOSTILE in layers[0]["words"] + layers[0]["classes"]["names"]
    assert HOSTILE not in block(layers)


def test_every_script_is_on_the_page() -> None:
    folder = files("dynprobe.report") / "js"
    assert sorted(f"{name}.js" for name in FILES) == sorted(
        f.name for f in folder.iterdir() if f.name.endswith(".js")
    )
    source = own_script()
    for forbidden in ("eval(", "Function(", "innerHTML", "document.write", "fetch(", "</script"):
        assert forbidden not in source, forbidden


def test_every_number_of_the_built_in_analyzers_is_defined(three: Report) -> None:
    for analyzer, rows in summary(three, "rnn").items():
        for row in rows:
            assert definition(analyzer, row.measure), (analyzer, row.measure)
    assert all(h.label in HEADLINES for h in headlines(three, "rnn"))


@pytest.mark.parametrize("analyzer", DEFINITIONS)
def test_a_definition_is_found_by_its_whole_name(analyzer: str) -> None:
    for measure, text in DEFINITIONS[analyzer].items():
        assert definition(analyzer, measure) == text


def test_numbers_of_others_explain_themselves() -> None:
    assert explained("mine", Row("accuracy", "1", "of my own")) == "of my own"
    assert "mine gives it" in explained("mine", Row("accuracy", "1"))
