"""The page's scripts: ours as they are, plotly's packed; and the policy that lets no other run."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
from importlib.resources import files

#: In this order: later ones use what earlier ones define.
FILES = (
    "dom", "tips", "theme", "files", "library", "scene", "trail", "plane", "space", "words",
    "clock", "explorer", "main",
)  # fmt: skip


@functools.cache
def own_script() -> str:
    """All files of ``report/js`` as one script that leaves no name behind."""
    folder = files("dynprobe.report") / "js"
    parts = [(folder / f"{name}.js").read_text(encoding="utf-8") for name in FILES]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


@functools.cache
def plotly_script() -> str:
    """plotly.js, as it lies in the package of plotly: the one bundle that ships with it."""
    text = (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    # what a browser makes of line ends, so that the digest is that of what it runs
    return text.replace("\r\n", "\n").replace("\r", "\n")


@functools.cache
def packed_plotly() -> str:
    """The same, compressed, in characters that HTML leaves alone: a third of its size."""
    data = gzip.compress(plotly_script().encode("utf-8"), mtime=0)
    return base64.b64encode(data).decode("ascii")


@functools.cache
def policy() -> str:
    """Content-Security-Policy: our script and plotly's by their digests, and nothing loaded."""
    allowed = " ".join(_digest(text) for text in (own_script(), plotly_script()))
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
