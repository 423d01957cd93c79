"""The page: self-contained, escaped, complete."""

from __future__ import annotations

import base64
import copy
import dataclasses
import gzip
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from report_samples import HOSTILE

from dynprobe import Report
from dynprobe.report.html import render_html
from dynprobe.report.scripts import plotly_script


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    VOID = frozenset({"meta", "img", "br", "link", "hr", "input"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.feed(source)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            if self.open[-1] == "script":
                self.scripts.append(data)
            return
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def of_three(three: Report) -> str:
    return render_html(three)


@pytest.fixture(scope="module")
def of_stacked(stacked: Report) -> str:
    return render_html(stacked)


@pytest.fixture(scope="module")
def of_text(text: Report) -> str:
    return render_html(text)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the words alone: most of a page's time goes into its pictures."""
    monkeypatch.setattr("dynprobe.report.html.pictures", lambda report, layer: [])


def test_it_loads_nothing_and_runs_its_own_scripts_alone(
    of_three: str, of_stacked: str, of_text: str
) -> None:
    for source in (of_three, of_stacked, of_text):
        page = Page(source)
        assert page.open == []
        assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
        for tag, attributes in page.tags:
            assert not any(name.startswith("on") for name in attributes), tag
            for name in ("src", "href", "srcset", "data"):
                assert (attributes.get(name) or "#").startswith(("data:image/", "#")), tag
        style = "".join(re.findall("<style>(.*?)</style>", source, re.S))
        assert "prefers-color-scheme" in style
        assert "url(" not in style
        assert "@import" not in style
        runs = [s for s in page.all("script") if not (s.get("type") or "").startswith("app")]
        assert len(runs) == 1
        policy = page.all("meta")[3]["content"] or ""
        assert "unsafe-eval" not in policy
        assert "script-src 'sha256-" in policy
        assert "http" not in policy
        digest = hashlib.sha256(page.scripts[-1].encode()).digest()
        assert base64.b64encode(digest).decode() in policy


def test_plotly_comes_out_as_it_went_in(of_three: str) -> None:
    packed = Page(of_three).scripts[-2].strip()
    assert gzip.decompress(base64.b64decode(packed)).decode() == plotly_script()


def test_it_is_small_and_says_how_small(of_three: str) -> None:
    assert len(of_three) < 4_000_000
    assert f"this page {len(of_three.encode()) / 1e6:.1f} MB" in Page(of_three).text


def test_it_shows_all_figures_with_captions_and_alternatives(of_three: str) -> None:
    page = Page(of_three)
    images = page.all("img")
    assert len(images) == 9
    assert all(image["alt"] for image in images)
    assert len(page.all("figcaption")) == 11  # with the two that are played with


def test_it_holds_the_headline_numbers(of_three: str, three: Report) -> None:
    text = Page(of_three).text
    found, dimension = three["fixed_points"], three["manifold_dimension"]
    integration = three["integration_direction"]
    for value, label in (
        (f"{three.views['rnn'].accuracy:.3f}", "accuracy"),
        (f"{dimension.participation_ratio:.2f}", "participation ratio"),
        (str(dimension.components_95), "components for 95 %"),
        (f"{float(integration.readout.pair_angles.mean()):.1f}°", "mean readout angle"),
        (str(len(found.unique)), "fixed points"),
        (str(integration.n_integrating), "integrating modes"),
    ):
        assert f"{value} {label}" in text
    assert "Looked at by neighbourhoods (GRIDE), they have" in text
    assert "training none, random weights" in text
    assert "seed 0" in text
    assert "longest time constants" in text


def test_it_follows_the_colour_scheme_and_the_width(of_three: str) -> None:
    assert "prefers-color-scheme: dark" in of_three
    assert Page(of_three).all("meta")[1]["name"] == "viewport"


def test_names_are_escaped(of_text: str, of_stacked: str) -> None:
    for source in (of_text, of_stacked):
        assert HOSTILE not in source
        assert "<script>alert" not in source
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in of_stacked


@pytest.mark.usefixtures("no_pictures")
def test_details_and_layers_are_escaped(bare: Report) -> None:
    report = copy.copy(bare)
    report.views = {HOSTILE: bare.views["neurons"]}
    report.results = {("manifold_dimension", HOSTILE): bare["manifold_dimension"]}
    report.skipped = {}
    report.details = {HOSTILE: f'"{HOSTILE}'}
    source = render_html(report)
    assert "<script>alert" not in source
    assert HOSTILE in Page(source).text


def test_skipped_and_failed_analyzers_are_told_with_their_reason(of_stacked: str) -> None:
    page = Page(of_stacked)
    assert "needy : needs the labels" in page.text
    assert f"broken: ValueError: broken by {HOSTILE}" in page.text
    assert "Traceback (most recent call last)" in page.text
    assert len(page.all("details")) == 2  # one for each layer


def test_plugins_are_shown(of_stacked: str) -> None:
    text = Page(of_stacked).text
    assert "42 apples" in text
    assert "Drawn by the analyzer drawing." in text
    assert f"RuntimeError: no ink {HOSTILE}" in text


def test_layers_are_compared_and_linked(of_stacked: str) -> None:
    page = Page(of_stacked)
    anchors = {f"#{attributes['id']}" for attributes in page.all("section")} - {"#explorer"}
    assert {attributes["href"] for attributes in page.all("a")} == anchors
    assert len(anchors) == 2
    assert "Layers at a glance" in page.text


def test_the_page_opens_with_the_layer_that_is_read_out(of_stacked: str) -> None:
    assert "states of rnn.l1 were recorded" in Page(of_stacked).text.split("Layers at a glance")[0]


def test_states_without_a_model_have_a_page(bare: Report, tmp_path: Path) -> None:
    path = bare.save(tmp_path / "bare.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.all("img")) == 3
    assert "needs the recurrence" in page.text


@pytest.mark.usefixtures("no_pictures")
def test_a_lone_surrogate_does_not_stop_the_page(bare: Report, tmp_path: Path) -> None:
    report = copy.copy(bare)
    report.details = {"token": "\ud800"}
    assert "\\ud800" in report.save(tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_pictures")
def test_a_continuum_is_said_to_be_one(three: Report) -> None:
    report = copy.copy(three)
    found, integration = three["fixed_points"], three["integration_direction"]
    unique = dataclasses.replace(found.unique, isolated=torch.zeros(len(found.unique)).bool())
    report.results = {
        ("fixed_points", "rnn"): dataclasses.replace(found, unique=unique),
        ("integration_direction", "rnn"): dataclasses.replace(
            integration, time_constants=torch.full((2, 3), 1e15)
        ),
    }
    text = Page(render_html(report)).text
    assert f"({len(unique)} on a continuum)" in text
    assert "Some mode neither fades nor grows" in text


@pytest.mark.usefixtures("no_pictures")
def test_an_interrupted_or_empty_report_says_so(bare: Report) -> None:
    report = copy.copy(bare)
    report.interrupted = True
    assert "interrupted" in Page(render_html(report)).text
    assert "holds no layer" in Page(render_html(Report())).text
