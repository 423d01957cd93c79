"""What can be played with on the page, played with in headless Chromium."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from devtools import NO_GL, SOFTWARE_GL, Browser
from PIL import Image
from report_samples import searching, seeded

import dynprobe
from dynprobe import Report
from dynprobe.nn import RNNClassifier

pytestmark = pytest.mark.requires("chromium")

HOSTILE = '</script><img src="x" onerror="window.hacked = 1"><b>bold</b>'
WORDS = ["good", "bad", HOSTILE, "%{x}", "=1+1", " "]


def written(path: Path, sequences: int, analyzers: list[object]) -> Path:
    """A page of an untrained classifier with 20 steps a sequence."""
    model = RNNClassifier(len(WORDS), 3, hidden_size=6, generator=seeded(0)).eval()
    tokens = torch.randint(len(WORDS), (sequences, 20), generator=seeded(1))
    labels = torch.randint(3, (sequences,), generator=seeded(2))
    names = ["up", HOSTILE, "down"]
    with dynprobe.attach(model, vocabulary=WORDS, classes=names) as probe, torch.no_grad():
        model(tokens)
    probe.recording().annotate(labels=labels)
    return probe.analyze(analyzers).save(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 states."""
    return written(tmp_path_factory.mktemp("small") / "report.html", 50, searching())


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100,000 states."""
    path = tmp_path_factory.mktemp("large") / "report.html"
    return written(path, 5000, ["manifold_dimension"])


@pytest.fixture(scope="module")
def with_webgl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"), *SOFTWARE_GL)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Without WebGL, which costs seconds where a processor does the work of a graphics card."""
    browser = Browser(tmp_path_factory.mktemp("browser"), *NO_GL)
    yield browser
    browser.close()


def drawn(browser: Browser, name: str) -> None:
    browser.show(f"#{name}")
    browser.wait(f"document.getElementById('{name}').dataset.drawn")


def text(browser: Browser, selector: str) -> str:
    found: str = browser.js(f"document.querySelector({selector!r}).textContent")
    return found


@pytest.mark.parametrize(
    ("states", "width", "dark"),
    [
        ("small", 1280, False),
        ("small", 400, True),
        ("large", 1280, True),
        ("large", 400, False),
    ],
)
def test_it_opens_without_an_error(
    request: pytest.FixtureRequest, with_webgl: Browser, states: str, width: int, dark: bool
) -> None:
    browser = with_webgl
    browser.open(request.getfixturevalue(states), width=width, dark=dark)
    drawn(browser, "plane")
    drawn(browser, "space")
    assert browser.problems() == []
    assert browser.js("document.documentElement.scrollWidth") <= width
    ground = browser.js("getComputedStyle(document.body).backgroundColor")
    assert (max(int(v) for v in ground[4:-1].split(",")) < 60) == dark
    for name in ("plane", "space"):
        browser.show(f"#{name}")
        image = Image.open(io.BytesIO(browser.screenshot())).convert("L")
        darkest, lightest = image.getextrema()
        assert lightest - darkest > 150
    of = "1,000 of 1,000" if states == "small" else "4,000 of 100,000"
    assert f"{of} states are drawn" in text(browser, "#told-states")
    assert ("at random" in text(browser, "#told-states")) == (states == "large")
    if states == "large":
        assert "80 of 5,000" not in text(browser, "#told-courses")  # the kinds overlap or not
        assert "of 5,000 sequences: up to 20 of the longest" in text(browser, "#told-courses")


def test_what_is_hostile_is_text(small: Path, with_webgl: Browser) -> None:
    browser = with_webgl
    browser.open(small)
    drawn(browser, "plane")
    drawn(browser, "space")
    assert browser.js("window.hacked") is None
    assert browser.js("document.querySelectorAll('[onerror]').length") == 0
    said = text(browser, "#words")
    # names are cut to a length; what is left of them is there, letter by letter
    assert HOSTILE[:30] in said
    assert "%{x}" in said
    legend = browser.js("document.querySelector('#plane .legend').textContent")
    assert HOSTILE[:30] in legend


def test_a_state_says_where_it_comes_from(small: Path, browser: Browser) -> None:
    browser.open(small)
    drawn(browser, "plane")
    browser.show("#plane")
    x, y = browser.js("""(() => {
        const box = document.getElementById("plane"), full = box._fullLayout;
        const trace = box.data[0], r = box.getBoundingClientRect();
        box.on("plotly_hover", ({points}) => { window.hovered = points[0]; });
        return [r.x + full.xaxis._offset + full.xaxis.c2p(trace.x[0]),
                r.y + full.yaxis._offset + full.yaxis.c2p(trace.y[0])];
    })()""")
    browser.mouse(x - 1, y)
    browser.mouse(x, y)
    browser.wait("window.hovered && document.querySelector('#plane .hoverlayer text')")
    told = text(browser, "#plane .hoverlayer")
    assert "after “" in told
    assert "step " in told
    assert "label " in told
    assert "predicted " in told
    browser.mouse(x, y, "mousePressed", "mouseReleased")
    # the nearest state, whichever of those that lie there it is
    browser.wait(
        "document.getElementById('course-text').textContent.includes("
        "`sequence ${window.hovered.customdata} of`)",
        seconds=20,
    )
    assert browser.problems() == []


def test_every_control_changes_what_is_shown(small: Path, browser: Browser) -> None:
    browser.open(small)
    drawn(browser, "plane")
    times = "Number(document.getElementById('plane').dataset.drawn)"

    def after(selector: str, value: str | None) -> None:
        before = browser.js(times)
        browser.click(selector) if value is None else browser.choose(selector, value)
        browser.wait(f"{times} > {before}")

    names = "document.getElementById('plane').data.map((trace) => trace.name)"
    for by in ("label", "step", "none", "predicted"):
        after("#colour", by)
        assert ("visited states" in browser.js(names)) == (by in ("step", "none"))
    title = "document.getElementById('plane').layout.xaxis.title.text"
    assert browser.js(title).startswith("PC 1 (")
    after("#axes", "1,2")
    assert browser.js(title).startswith("PC 2 (")
    after("#axes", "0,1")
    for name, label in (("final", "final states"), ("visited", "up")):
        before = label in browser.js(names)
        after(f"#show-{name}", None)
        assert (label in browser.js(names)) != before
    for name in ("fixed", "slow"):
        assert browser.js(f"document.getElementById('show-{name}').disabled") is False
        after(f"#show-{name}", None)
    arrows = "document.getElementById('plane').layout.annotations.length"
    assert browser.js(arrows) == 6
    after("#show-readouts", None)
    assert browser.js(arrows) == 0
    rings = "document.querySelectorAll('#plane .trail circle').length"
    assert browser.js(rings) == 50
    after("#show-at", None)
    assert browser.js(rings) == 0
    assert browser.problems() == []


def test_the_step_moves_words_and_path_together(small: Path, browser: Browser) -> None:
    browser.open(small)
    drawn(browser, "plane")
    corners = "document.querySelector('#plane .trail polyline').getAttribute('points').split(' ')"
    assert browser.js(f"{corners}.length") == 21  # from the initial state on
    browser.choose("#step", "7")
    assert browser.js(f"{corners}.length") == 8
    assert browser.js("document.querySelector('.word.now').dataset.step") == "7"
    said = text(browser, "#step-text")
    assert said.startswith("Step 7 of 20: “")
    assert " to up, " in said
    # the star lies where the plot's axes have the state
    x, y = browser.js("""(() => {
        const full = document.getElementById("plane")._fullLayout;
        const course = JSON.parse(document.getElementById("data").textContent).layers[0].courses[0];
        return [full.xaxis.c2p(course.x[7]), full.yaxis.c2p(course.y[7])];
    })()""")
    last = browser.js(f"{corners}.at(-1)").split(",")
    assert [float(v) for v in last] == pytest.approx([x, y], abs=0.1)
    browser.click('.word[data-step="12"]')
    assert browser.js("document.getElementById('step').value") == "12"
    browser.choose("#step", "18")
    browser.click("#play")
    browser.wait("document.getElementById('step').value === '20'")
    browser.wait("document.getElementById('play').getAttribute('aria-pressed') === 'false'")
    browser.click("#play")  # from the start again
    browser.wait("['1', '2', '3'].includes(document.getElementById('step').value)")
    browser.click("#play")
    assert browser.js("document.getElementById('play').getAttribute('aria-pressed')") == "false"
    assert browser.problems() == []


def test_words_are_coloured_by_what_they_add(small: Path, browser: Browser) -> None:
    browser.open(small)
    given = json.loads(text(browser, "#data"))["layers"][0]
    course = given["courses"][0]
    for logit in ("0", "2"):
        browser.choose("#pushed", logit)
        colours = browser.js(
            "[...document.querySelectorAll('.word')].map((w) => w.style.backgroundColor)"
        )
        for push, colour in zip(course["push"], colours, strict=True):
            assert ("213, 94, 0" in colour) == (push[int(logit)] < 0)
    assert "added to the logit of down" in text(browser, "#push-what")
    assert text(browser, "#push-low").startswith("−")
    browser.mouse(*browser.middle('.word[data-step="3"]'))
    browser.wait("!document.getElementById('tip').hidden")
    assert text(browser, "#tip").startswith("step 3: ")
    assert "to down" in text(browser, "#tip")


def test_sequences_are_turned_and_sorted(small: Path, browser: Browser) -> None:
    browser.open(small)
    assert text(browser, "#course-text").startswith("1 of 50 · sequence 0 of the recording")
    browser.click("#next")
    assert text(browser, "#course-text").startswith("2 of 50 · sequence 1 of the recording")
    browser.click("#previous")
    browser.click("#previous")
    assert text(browser, "#course-text").startswith("50 of 50 · sequence 49")
    given = json.loads(text(browser, "#data"))["layers"][0]["courses"]
    browser.choose("#sort", "confident")
    surest = max(given, key=lambda course: course["confidence"])
    assert f"sequence {surest['sequence']} of" in text(browser, "#course-text")
    browser.choose("#sort", "wrong")
    assert text(browser, "#course-text").endswith("wrong")
    browser.choose("#sort", "longest")
    assert text(browser, "#course-text").startswith("1 of 50")


def test_light_and_dark_by_hand(small: Path, browser: Browser) -> None:
    browser.open(small)
    drawn(browser, "plane")
    ground = "document.getElementById('plane').layout.paper_bgcolor"
    assert browser.js(ground) == "#ffffff"
    browser.click("#theme")
    assert text(browser, "#theme") == "Light page"
    browser.wait(f"{ground} === '#1d2129'")
    browser.click("#theme")
    browser.wait(f"{ground} === '#ffffff'")
    assert browser.problems() == []


def test_numbers_are_explained_by_pointer_and_by_keyboard(small: Path, browser: Browser) -> None:
    browser.open(small)
    assert browser.js("[...document.querySelectorAll('td.value, .tile')].every((e) => "
                      "e.dataset.tip && e.tabIndex === 0)")  # fmt: skip
    tile = ".tiles .tile:nth-child(2)"
    browser.mouse(*browser.middle(tile))
    browser.wait("!document.getElementById('tip').hidden")
    assert "(Σ v)² / Σ v²" in text(browser, "#tip")
    browser.mouse(2, 2)
    browser.wait("document.getElementById('tip').hidden")
    browser.js(f"document.querySelector({tile!r}).focus()")
    browser.wait("!document.getElementById('tip').hidden")
    assert browser.js(f"document.querySelector({tile!r}).getAttribute('aria-describedby')") == "tip"
    browser.key("Escape")
    assert browser.js("document.getElementById('tip').hidden")


def saved(browser: Browser, selector: str, name: str) -> bytes:
    browser.click(selector)
    path, end = browser.downloads / name, time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{name} was not saved; {browser.problems()}"
        time.sleep(0.05)
    return path.read_bytes()


def test_figures_and_numbers_are_saved(small: Path, with_webgl: Browser) -> None:
    browser = with_webgl
    browser.open(small)
    drawn(browser, "plane")
    drawn(browser, "space")
    for name in ("plane", "space"):
        png = saved(browser, f"button[data-scene={name}][data-as=png]", f"rnn.{name}.png")
        assert Image.open(io.BytesIO(png)).size[0] > 1000
        svg = saved(browser, f"button[data-scene={name}][data-as=svg]", f"rnn.{name}.svg")
        assert b"<svg" in svg
    figure = "figure[data-name='rnn.spectrum'] button"
    assert Image.open(
        io.BytesIO(saved(browser, f"{figure}[data-as=png]", "rnn.spectrum.png"))
    ).size[0] > 1000  # fmt: skip
    assert b"<svg" in saved(browser, f"{figure}[data-as=svg]", "rnn.spectrum.svg")
    rows = json.loads(saved(browser, "[data-of=numbers][data-as=json]", "dynprobe-numbers.json"))
    table = saved(browser, "[data-of=numbers][data-as=csv]", "dynprobe-numbers.csv")
    again = list(csv.DictReader(io.StringIO(table.decode("utf-8-sig"))))
    # a spreadsheet would run what begins like a formula: such a value has an apostrophe there
    assert any(row["value"].startswith("'=1+1") for row in again)
    assert [{k: v.removeprefix("'") for k, v in row.items()} for row in again] == rows
    assert {"measure", "value", "meaning", "layer", "analyzer"} == set(rows[0])
    assert browser.problems() == []


def test_without_webgl_the_plane_is_there(small: Path, browser: Browser) -> None:
    browser.open(small)
    drawn(browser, "plane")
    browser.wait("document.getElementById('space').textContent.includes('needs WebGL')")
    assert browser.js("document.querySelector('[data-scene=space]').disabled")
    assert browser.js("document.querySelectorAll('#plane .point').length") >= 1000
    assert browser.problems() == []


def test_what_is_not_there_is_told_with_its_reason(tmp_path: Path, browser: Browser) -> None:
    states = torch.randn(5, 12, 4, generator=seeded(3)).cumsum(1)
    recording = dynprobe.Recording.from_arrays(states, layer="neurons")
    browser.open(dynprobe.analyze(recording).save(tmp_path / "bare.html"))
    drawn(browser, "plane")
    said = text(browser, "#missing")
    assert "token ids were not recorded" in said
    assert "Pushes are not shown" in said
    assert "the recording has none" in said
    assert browser.js("document.getElementById('show-fixed').disabled")
    assert "no labels" in text(browser, "#colour option[value=label]")
    assert browser.js("document.getElementById('push-legend').hidden")
    browser.choose("#step", "5")  # the path still follows
    assert "Step 5 of 12" in text(browser, "#step-text")
    assert browser.problems() == []


def test_layers_have_their_own_states(stacked: Report, tmp_path: Path, browser: Browser) -> None:
    browser.open(stacked.save(tmp_path / "stacked.html"))
    drawn(browser, "plane")
    assert "linear readout" in text(browser, "#missing")
    assert browser.js("document.getElementById('pushed-label').hidden")
    browser.choose("#layer", "1")
    browser.wait("Number(document.getElementById('plane').dataset.drawn) > 1")
    assert "linear readout" not in text(browser, "#missing")
    assert "token ids were not recorded" in text(browser, "#missing")
    assert browser.js("document.querySelectorAll('.word').length") == 7  # steps by number
    assert "adds " in text(browser, "#step-text")
    assert browser.problems() == []


@pytest.mark.parametrize("states", [torch.ones(3, 4, 2), torch.arange(24.0).reshape(3, 8, 1)])
def test_states_without_a_plane_are_drawn(
    states: torch.Tensor, tmp_path: Path, browser: Browser
) -> None:
    recording = dynprobe.Recording.from_arrays(states, layer="flat")
    browser.open(dynprobe.analyze(recording, "manifold_dimension").save(tmp_path / "flat.html"))
    drawn(browser, "plane")
    assert browser.js("document.querySelectorAll('#plane .point').length") >= 12
    assert browser.problems() == []
