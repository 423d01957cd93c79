"""How long a report's page takes to open: of 1,000 and of 100,000 recorded states.

    python benchmarks/report.py

A GRU of 32 random units on 6 words, 3 classes, sequences of 50 steps; the page of
`manifold_dimension` alone, so that it is the page that is measured. Headless Chromium, WebGL in
software, a new load each time. Seconds from the start of the navigation, medians of `--loads`:
`readable` when text and numbers are parsed, `interactive` when controls and the text view answer,
`plane` and `space` when each plot is first drawn, both in view from the start. Beside them the
processor's seconds of the page's main thread, which other work on the machine does not change much:
`processor, interactive` and `processor, space`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import save

import dynprobe
from dynprobe.nn import RNNClassifier

# the tests' driver of Chromium
sys.path.append(str(Path(__file__).parents[1] / "tests" / "report"))

STEPS = 50
WORDS = ["a", "b", "c", "and", "of", "the"]
#: Marks of the page, by what they are called here.
MARKS = {"interactive": "dynprobe-ready", "plane": "dynprobe-plane", "space": "dynprobe-space"}


def written(path: Path, states: int) -> dict[str, Any]:
    """Write the page of an untrained classifier; its size, and what writing took."""
    generator = torch.Generator().manual_seed(0)
    model = RNNClassifier(len(WORDS), 3, hidden_size=32, generator=generator).eval()
    tokens = torch.randint(len(WORDS), (states // STEPS, STEPS), generator=generator)
    with dynprobe.attach(model, vocabulary=WORDS) as probe, torch.no_grad():
        model(tokens)
    probe.recording().annotate(labels=torch.arange(len(tokens)) % 3)
    report = probe.analyze("manifold_dimension")
    start = time.perf_counter()
    report.save(path)
    took = time.perf_counter() - start
    return {"page bytes": path.stat().st_size, "seconds to write": round(took, 2)}


def loaded(page: Path, folder: Path) -> dict[str, float]:
    """Seconds of one load, in a browser of its own."""
    from devtools import SOFTWARE_GL, Browser

    browser = Browser(folder, *SOFTWARE_GL)
    try:
        browser.call("Performance.enable", timeDomain="threadTicks")
        browser.open(page, height=2400)
        busy = {"processor, interactive": _busy(browser)}
        for name in ("plane", "space"):
            browser.wait(f"document.getElementById('{name}').dataset.drawn")
        assert browser.problems() == []
        at = "performance.getEntriesByName({!r})[0].startTime"
        parsed = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
        found = {"readable": browser.js(parsed)}
        found |= {name: browser.js(at.format(mark)) for name, mark in MARKS.items()}
        busy["processor, space"] = _busy(browser)
        return {name: ms / 1000 for name, ms in found.items()} | busy
    finally:
        browser.close()


def _busy(browser: Any) -> float:
    """Seconds of a processor that the page's main thread has taken."""
    metrics = browser.call("Performance.getMetrics")["metrics"]
    return float(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loads", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"loads": options.loads}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for states in (1000, 100_000):
            page = Path(folder) / f"{states}.html"
            figures[f"{states} states"] = found = written(page, states)
            loads = [loaded(page, Path(folder) / f"{states}-{i}") for i in range(options.loads)]
            for name in loads[0]:
                times = [load[name] for load in loads]
                found[name] = {
                    "median": round(statistics.median(times), 2),
                    "least": round(min(times), 2),
                    "most": round(max(times), 2),
                }
            print(f"{states} states: {found}")
    figures["load of the machine, 1 minute"] = round(os.getloadavg()[0], 1)
    save("report", figures)


if __name__ == "__main__":
    main()
