"""The pictures: drawn where there is something to draw, labelled, and without side effects."""

from __future__ import annotations

import copy
import dataclasses
import math
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from report_samples import bare_report, classifier_report

from dynprobe import Report
from dynprobe.dynamics.certificate import Status
from dynprobe.report.figures import FIGURES, pictures, save_pngs
from dynprobe.report.figures.labels import Label, place_labels
from dynprobe.report.figures.style import (
    class_colours,
    log_axis,
    new_figure,
    shown,
    style,
    to_bytes,
)

PNG = b"\x89PNG\r\n\x1a\n"
OF_STATES = {"states", "spectrum", "scales"}


def drawn(report: Report, name: str, layer: str | None = None) -> Figure:
    figure = FIGURES[name].draw(report, layer or report.layers[0])
    assert figure is not None
    return figure


def texts(figure: Figure) -> str:
    return " | ".join(t.get_text() for t in figure.findobj(Text) if t.get_text())


def changed(report: Report, name: str, **fields: object) -> Report:
    out = copy.copy(report)
    key = (name, report.layers[0])
    out.results = report.results | {key: dataclasses.replace(report.results[key], **fields)}
    return out


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_and_captioned(three: Report, name: str) -> None:
    figure = drawn(three, name)
    assert FIGURES[name].title in texts(figure)
    assert to_bytes(figure, "png", dpi=50).startswith(PNG)
    assert "mathdefault" not in texts(figure)  # a formula of matplotlib's, unread
    assert FIGURES[name].caption(three, "rnn").endswith(".")


@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_labelled(three: Report, name: str) -> None:
    # panels that share an axis share its label
    figure = drawn(three, name)
    assert all(ax.get_xlabel() or ax.get_ylabel() for ax in figure.axes)
    assert figure.axes[0].get_xlabel()
    assert figure.axes[0].get_ylabel()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("states", ["PC 1 (", "% of variance)", "A", "B", "C", "start", "readout vector"]),
        ("spectrum", ["participation ratio", "first N − 1 = 2", "cumulative", "(%)"]),
        (
            "scales",
            ["neighbours", "GRIDE", "MLE", "local PCA", "N − 1 = 2", "rms", "participation ratio"],
        ),
        ("slow_cut", ["largest speed q", "participation ratio", "visited states", "10⁻¹⁶"]),
        ("fixed_points", ["visited states", "PC 2 ("]),
        ("eigenvalues", ["real part", "imaginary part", "τ = 10", "steps"]),
        ("deflections", ["mean push per occurrence", "state units", "neutral", "linear", "exact"]),
        ("time_constants", ["(steps)", "sequence length, 8 steps", "median"]),
        ("ablation", ["accuracy", "kept", "removed", "random directions, 5 seeds", "unedited"]),
    ],
)
def test_what_a_reader_needs_is_written(three: Report, name: str, said: list[str]) -> None:
    written = texts(drawn(three, name))
    assert [s for s in said if s not in written] == []


@pytest.mark.parametrize("name", FIGURES)
def test_missing_data_gives_none(bare: Report, three: Report, name: str) -> None:
    assert (FIGURES[name].draw(bare, "neurons") is not None) == (name in OF_STATES)
    assert FIGURES[name].draw(three, "no such layer") is None


@pytest.mark.parametrize("name", FIGURES)
def test_hostile_names_and_many_classes_are_drawn(text: Report, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(to_bytes(drawn(text, name), "png", dpi=50)) > 1000


def test_plane_figures_have_equal_aspect(three: Report) -> None:
    for name in ("states", "fixed_points", "deflections", "eigenvalues"):
        assert drawn(three, name).axes[0].get_aspect() == 1, name


def test_readout_arrows_lie_inside_the_frame_and_keep_their_ratio(three: Report) -> None:
    figure = drawn(three, "states")
    ax = figure.axes[0]
    arrows = [t for t in ax.texts if not t.get_text()]
    tips = torch.tensor([t.xy for t in arrows], dtype=torch.float64)
    readouts = three.views["rnn"].readouts[:, :2]
    assert len(tips) == 3
    ratio = tips.norm(dim=1) / readouts.norm(dim=1)
    torch.testing.assert_close(ratio, ratio.mean().expand(3))
    low, high = torch.tensor([ax.get_xlim(), ax.get_ylim()], dtype=torch.float64).T
    assert bool(((tips > low) & (tips < high)).all())
    frame = ax.get_window_extent()
    for label in (t for t in ax.texts if t.get_text()):
        box = label.get_window_extent()
        assert box.x0 >= frame.x0 - 1
        assert box.x1 <= frame.x1 + 1


def test_points_are_drawn_by_status(three: Report) -> None:
    result = three["fixed_points"]
    status = torch.arange(len(result.points)) % 3
    points = dataclasses.replace(result.points, status=status)
    unique = points[status == int(Status.FIXED)]
    unique = dataclasses.replace(unique, isolated=torch.arange(len(unique)) > 0)
    report = changed(
        three,
        "fixed_points",
        points=points,
        unique=unique,
        n_unstable=(torch.arange(len(unique)) == 1).long(),
    )
    figure = drawn(report, "fixed_points")
    written = texts(figure)
    slow, lost = (points.count(s) for s in (Status.SLOW, Status.UNCONVERGED))
    assert f"slow ({slow})" in written
    assert f"not converged ({lost})" in written
    assert "on a continuum (1)" in written
    assert "saddle or repeller (1)" in written
    assert f"attractor ({len(unique) - 2})" in written
    assert "log₁₀ speed" in written
    assert "per step" in written


def test_an_interrupted_search_is_drawn(three: Report) -> None:
    points = three["fixed_points"].points
    points = dataclasses.replace(
        points,
        status=torch.full_like(points.status, int(Status.UNCONVERGED)),
        speed=torch.full_like(points.speed, math.nan),
    )
    report = changed(
        three, "fixed_points", points=points, unique=points[:0], n_unstable=torch.zeros(0)
    )
    assert f"not converged ({len(points)})" in texts(drawn(report, "fixed_points"))


def test_the_causal_test_without_labels_and_without_random_directions(three: Report) -> None:
    result = three["integration_direction"].ablation
    score = {"accuracy": None, "agreement": 0.04}
    ablation = dataclasses.replace(
        result,
        rank=1,
        chance=0.5,
        unedited=dataclasses.replace(result.unedited, accuracy=None),
        keep=dataclasses.replace(result.keep, accuracy=None),
        remove=dataclasses.replace(result.remove, **score),
        random_keep=(),
        random_remove=(),
    )
    report = changed(three, "integration_direction", ablation=ablation)
    figure = drawn(report, "ablation")
    written = texts(figure)
    assert "same answer as the unedited run" in written
    assert "4 %" in written  # above a bar too low to hold it
    assert "random" not in written
    assert "its most frequent answer, 50 %" in written
    (ax,) = figure.axes
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == pytest.approx([result.keep.agreement, 0.04])
    assert "projected on the slow mode of one" in FIGURES["ablation"].caption(report, "rnn")


def test_endless_and_undefined_time_constants(three: Report) -> None:
    taus = three["integration_direction"].time_constants.clone()
    taus[0], taus[1], taus[2] = math.inf, math.nan, 0.0
    report = changed(three, "integration_direction", time_constants=taus, unit="ms")
    figure = drawn(report, "time_constants")
    assert "never fades" in texts(figure)
    assert "(ms)" in texts(figure)
    low, high = figure.axes[0].get_xlim()
    assert 0 < low < high < math.inf


def test_deflections_follow_the_plane_of_the_view(three: Report) -> None:
    """Flipping a component of the view alone must flip what is drawn."""
    turned = copy.copy(three)
    view = three.views["rnn"]
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    turned.views = {"rnn": dataclasses.replace(view, components=view.components * flip[:, None])}

    def tips(report: Report) -> torch.Tensor:
        arrows = [t for t in drawn(report, "deflections").axes[0].texts if not t.get_text()]
        return torch.tensor([t.xy for t in arrows], dtype=torch.float64)

    torch.testing.assert_close(tips(turned), tips(three) * flip[:2])


def test_many_tokens_are_dots_with_few_names(text: Report) -> None:
    figure = drawn(text, "deflections")
    names = [t for t in figure.axes[0].texts if t.get_text() and t.get_style() == "normal"]
    assert 3 < len(names) <= 25
    boxes = [t.get_window_extent() for t in names]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_crowded_labels_are_left_out_and_required_ones_are_kept() -> None:
    import numpy as np

    figure = new_figure()
    ax = figure.add_subplot()
    same = [Label("crowded", 0.5, 0.5)] * 40
    here = np.array([[0.5, 0.5]])
    assert 0 < place_labels(figure, ax, same, avoid=here) < 40
    assert place_labels(figure, ax, same, avoid=here, keep_all=True) == 40


def test_one_dimensional_states_are_drawn_over_time() -> None:
    report = bare_report(torch.arange(24.0).reshape(3, 8, 1))
    assert "step of the sequence" in texts(drawn(report, "states"))
    assert "over time" in FIGURES["states"].caption(report, "neurons")


def test_one_unit_with_tokens() -> None:
    report = classifier_report(3, ["no", "yes"], units=1)
    assert not [p.problem for p in pictures(report, "rnn") if p.problem]


def test_states_that_never_move() -> None:
    report = bare_report(torch.ones(3, 4, 2))
    assert not [p.problem for p in pictures(report, "neurons") if p.problem]


def test_one_logit_tells_two_classes_apart() -> None:
    report = classifier_report(3, ["spam"])
    assert report.views["rnn"].prediction is not None
    assert {"spam", "class 1"} & set(texts(drawn(report, "states")).split(" | "))
    assert not [p.problem for p in pictures(report, "rnn") if p.problem]


def test_pngs_are_written(stacked: Report, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "pictures"
    with pytest.warns(UserWarning, match="smudging.*could not be drawn"):
        written = save_pngs(stacked, folder)
    assert sorted(folder.iterdir()) == sorted(written)
    names = {path.name for path in written}
    assert {"rnn.l0.states.png", "rnn.l1.eigenvalues.png", "rnn.l1.drawing.png"} <= names
    assert all(p.read_bytes().startswith(PNG) and p.stat().st_size > 5000 for p in written)


def test_layers_whose_names_collide_as_files_keep_their_own(bare: Report, tmp_path: Path) -> None:
    report = copy.copy(bare)
    report.views = {"a/b": bare.views["neurons"], "a_b": bare.views["neurons"]}
    names = {path.name for path in save_pngs(report, tmp_path)}
    assert names == {"a_b.states.png", "a_b.states-2.png"}


def test_a_figure_that_fails_costs_only_itself(
    three: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(report: Report, layer: str) -> Figure:
        raise ZeroDivisionError("no size")

    monkeypatch.setitem(FIGURES, "states", FIGURES["states"]._replace(draw=fail))
    found = {p.name: p for p in pictures(three, "rnn")}
    assert found["states"].problem == "ZeroDivisionError: no size"
    assert all(p.figure is not None for name, p in found.items() if name != "states")


def test_the_global_state_of_matplotlib_is_left_alone(
    three: Report, bare: Report, tmp_path: Path
) -> None:
    with matplotlib.rc_context({"font.size": 31, "axes.facecolor": "black", "text.usetex": False}):
        before = dict(matplotlib.rcParams)
        backend = matplotlib.get_backend()
        figure = drawn(three, "states")
        save_pngs(bare, tmp_path)
        assert dict(matplotlib.rcParams) == before
        assert matplotlib.get_backend() == backend
        # and the user's settings do not reach our figures
        assert to_hex(figure.axes[0].get_facecolor()) == "#ffffff"
    assert "matplotlib.pyplot" not in sys.modules or matplotlib.pyplot.get_fignums() == []


def test_the_same_report_gives_the_same_bytes(three: Report) -> None:
    a, b = (to_bytes(drawn(three, "time_constants"), "svg") for _ in range(2))
    assert a == b


def test_importing_reports_does_not_import_matplotlib() -> None:
    code = "import sys, dynprobe.report; print('matplotlib' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ((1e-9, 10.0), ["10⁻⁹", "10⁻⁵", "0.1"]),
        ((1e-5, 2.0), ["10⁻⁵", "10⁻⁴", "0.001", "0.1"]),
        ((2.0, 60.0), ["2", "10", "40"]),
        ((3e5, 9e5), ["4·10⁵"]),
    ],
)
def test_logarithmic_ticks_are_numbers(limits: tuple[float, float], said: list[str]) -> None:
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.set_yscale("log")
        axes.set_ylim(*limits)
        log_axis(axes.yaxis)
        figure.canvas.draw()
    found = {t.get_text() for t in figure.findobj(Text)}
    assert set(said) <= found
    assert not any("$" in text for text in found)


def test_class_colours_differ() -> None:
    for n in (1, 2, 7, 8, 30):
        assert len(set(class_colours(n))) == n


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (" the", "␣the"),
        ("\n", "\\n"),
        ("", "(empty)"),
        ("  ", "␣␣"),
        ("\ud800", "\\ud800"),
        ("x" * 30, "x" * 17 + "…"),
    ],
)
def test_names_become_visible(name: str, expected: str) -> None:
    assert shown(name) == expected
