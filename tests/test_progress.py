"""A bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import io
import sys

from dynprobe.progress import bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_where_there_is_no_terminal(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with bar("work") as progress:
        progress(1, 2)
    assert written.getvalue() == ""


def test_a_bar_on_a_terminal(monkeypatch):
    written = Terminal()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setenv("TERM", "xterm")
    with bar("fixed points") as progress:
        progress(3, 7)
    assert "fixed points" in written.getvalue()
    assert "3 of 7" in written.getvalue()
