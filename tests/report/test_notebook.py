"""What a notebook shows of reports and recordings."""

from __future__ import annotations

import copy

import torch
from report_samples import HOSTILE

import dynprobe
from dynprobe import Report
from dynprobe.notebook import table


def test_a_report_shows_headlines_figure_and_table(three: Report) -> None:
    shown = three._repr_html_()
    assert "participation ratio" in shown
    assert "data:image/png;base64," in shown
    assert "are any missing?" in shown
    assert "<script" not in shown
    assert len(shown) < 400_000


def test_names_are_escaped(text: Report, bare: Report) -> None:
    assert HOSTILE not in text._repr_html_()
    report = copy.copy(bare)
    report.views = {HOSTILE: bare.views["neurons"]}
    shown = report._repr_html_()
    assert HOSTILE not in shown
    assert "&lt;script&gt;" in shown
    assert table("\ud800", [["a", "<b>"]]).endswith("&lt;b&gt;</td></tr></tbody></table>")


def test_many_layers_are_named_not_drawn(bare: Report) -> None:
    report = copy.copy(bare)
    report.views = {f"layer{i}": bare.views["neurons"] for i in range(6)}
    shown = report._repr_html_()
    assert shown.count("<img") == 3
    assert "layer0, layer1, layer2" in shown
    assert "holds no layer" in Report()._repr_html_()


def test_a_recording_shows_what_it_holds() -> None:
    rec = dynprobe.Recording.from_arrays(
        torch.zeros(3, 4, 5), tokens=torch.zeros(3, 4).long(), layer="<b>"
    )
    shown = rec._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<td" in shown
    assert "12 of" in shown
    assert "tokens" in shown
    assert "240" in shown
