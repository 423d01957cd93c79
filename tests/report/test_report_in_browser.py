"""Pages as a reader opens them: in headless Chromium. What can be played with has its own tests."""

from __future__ import annotations

import subprocess

import pytest
import torch
from PIL import Image

import dynprobe

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    model = torch.nn.GRU(3, 8, batch_first=True)
    with dynprobe.attach(model, readout=(torch.randn(3, 8), None)) as probe:
        model(torch.randn(20, 15, 3))
    return probe.analyze().save(tmp_path_factory.mktemp("page") / "report.html")


def chromium(page, folder, *options):
    command = ["chromium", *FLAGS, f"--user-data-dir={folder / 'profile'}", *options]
    return subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )


@pytest.mark.requires("chromium")
def test_the_first_screen_has_the_headline_numbers(page, tmp_path):
    dom = chromium(page, tmp_path, "--dump-dom").stdout
    assert "participation ratio" in dom
    assert dom.count("<svg") + dom.count("data:image") >= 4


@pytest.mark.requires("chromium")
@pytest.mark.parametrize("width", [1280, 400])
def test_a_comparison_opens_with_its_verdict(tmp_path, width):
    x, probes = torch.randn(12, 9, 3), {}
    for cell in (torch.nn.GRU, torch.nn.LSTM):
        model = cell(3, 6, batch_first=True)
        with dynprobe.attach(model, readout=(torch.randn(3, 6), None)) as probe:
            model(x)
        probes[cell.__name__] = probe
    found = dynprobe.compare(probes)
    shot = tmp_path / "shot.png"
    written = found.save(tmp_path / "compare.html")
    options = [f"--screenshot={shot}", f"--window-size={width},900"]
    assert "CONSOLE" not in chromium(written, tmp_path, *options).stderr
    darkest, lightest = Image.open(shot).convert("L").getextrema()
    assert lightest - darkest > 150
    dom = chromium(written, tmp_path, "--dump-dom").stdout
    assert dom.index(found.verdict) < dom.index("<img")
