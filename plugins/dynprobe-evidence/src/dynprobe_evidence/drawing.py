"""Evidence over the text it came from: as a figure and as a page."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from dynprobe_evidence.analyzer import EvidenceResult, SequenceEvidence

COLOURS = colormaps["RdBu"]  # red against, blue for: told apart with any colour vision
INK = "#1f2430"
#: Width of a line of text and of a figure, in characters and inches; height of a line in inches.
LINE = 74
WIDTH = 7.6
HEIGHT = 0.27


def draw(result: EvidenceResult, n: int) -> Figure:
    """Coloured tokens of the first n sequences, one block each, on one scale."""
    shown = result.sequences[:n]
    end = _scale(shown)
    blocks = [_lines(s.tokens) for s in shown]
    rows = sum(len(b) + 2.2 for b in blocks)
    figure = Figure(figsize=(WIDTH, HEIGHT * rows + 0.85))
    bottom = 0.75 / float(figure.get_figheight())
    ax = figure.add_axes((0.02, bottom, 0.96, 1 - bottom))
    ax.set_axis_off()
    ax.set_xlim(0, LINE)
    ax.set_ylim(rows, 0)
    y = 0.7
    for sequence, lines in zip(shown, blocks, strict=True):
        ax.text(0, y, _title(result, sequence), fontsize=8.5, va="center", weight="bold")
        values = sequence.contributions[:, sequence.predicted].tolist()
        for line in lines:
            y += 1
            x = 0.0
            for i in line:
                word = _visible(sequence.tokens[i])
                fill, ink = _colours(values[i], end)
                width = len(word) + 1.0
                right, top, low = x + width - 0.25, y - 0.44, y + 0.44
                ax.fill([x, right, right, x], [top, top, low, low], color=fill, linewidth=0)
                ax.text((x + right) / 2, y, word, color=ink, fontsize=7.5, ha="center",
                        va="center", family="DejaVu Sans Mono", parse_math=False)  # fmt: skip
                x += width
        y += 1.2
        ax.text(0, y - 0.2, _account(sequence), fontsize=7.5, va="center", color="#4b5563")
        y += 1.0
    height = float(figure.get_figheight())
    bar = figure.add_axes((0.25, 0.46 / height, 0.5, 0.1 / height))
    figure.colorbar(
        ScalarMappable(Normalize(-end, end), COLOURS), cax=bar, orientation="horizontal"
    )
    bar.set_xlabel(f"share of the logit, by token ({_units(result)})", fontsize=8)
    bar.tick_params(labelsize=7.5)
    return figure


def page(result: EvidenceResult) -> str:
    """A page of its own: every sequence, coloured for its predicted class, numbers on hovering."""
    end = _scale(result.sequences)
    body = []
    for sequence in result.sequences:
        k = sequence.predicted
        words = []
        for token, value, effect in zip(
            sequence.tokens,
            sequence.contributions[:, k].tolist(),
            sequence.replaced[:, k].tolist(),
            strict=True,
        ):
            fill, ink = _colours(value, end)
            hint = f"{value:+.3f}; replaced by the reference: {effect:+.3f}"
            words.append(
                f'<span style="background:{fill};color:{ink}" title="{hint}">'
                f"{html.escape(_visible(token))}</span>"
            )
        body.append(
            f"<h2>{html.escape(_title(result, sequence))}</h2><p>{' '.join(words)}</p>"
            f"<p class=sum>{html.escape(_account(sequence))}</p>"
        )
    stops = ", ".join(to_hex(COLOURS(i / 10)) for i in range(11))
    legend = (
        f"<div class=bar style='background:linear-gradient(90deg, {stops})'></div>"
        f"<div class=ends><span>{-end:+.2f} against</span><span>0</span>"
        f"<span>{end:+.2f} for the class</span></div>"
        f"<p class=sum>Share of the logit by token ({html.escape(_units(result))}); reference: "
        f"{html.escape(result.reference)}. Against replacing each token and running again, the "
        f"shares are off by {result.linear_error:.1%} in all.</p>"
    )
    style = (
        "body{font:15px/1.9 system-ui,sans-serif;max-width:52em;margin:2em auto;padding:0 1em;"
        f"color:{INK};background:#fff}}h2{{font-size:1em;margin:1.6em 0 .3em}}p{{margin:.2em 0}}"
        "span[title]{padding:.12em .25em;border-radius:.2em}.sum{color:#4b5563;font-size:.87em}"
        ".bar{height:.8em;max-width:26em}.ends{display:flex;justify-content:space-between;"
        "max-width:26em;font-size:.87em}.ends span{flex:1;text-align:center}"
        ".ends span:first-child{text-align:left}.ends span:last-child{text-align:right}"
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Evidence by token</title>"
        f"<style>{style}</style><h1>Evidence by token</h1>{legend}{''.join(body)}</html>"
    )


def _scale(sequences: tuple[SequenceEvidence, ...]) -> float:
    values = [abs(v) for s in sequences for v in s.contributions[:, s.predicted].tolist() if v == v]
    return float(max([*values, 1e-12]))


def _colours(value: float, end: float) -> tuple[str, str]:
    """Background and ink of a token; grey where its share is unknown."""
    if math.isnan(value):
        return "#e5e7eb", INK
    r, g, b, _ = COLOURS(0.5 + 0.5 * value / end)
    bright = 0.299 * r + 0.587 * g + 0.114 * b
    return to_hex((r, g, b)), INK if bright > 0.55 else "#ffffff"


def _lines(tokens: tuple[str, ...]) -> list[list[int]]:
    lines: list[list[int]] = [[]]
    used = 0
    for i, token in enumerate(tokens):
        width = len(_visible(token)) + 1
        if lines[-1] and used + width > LINE:
            lines.append([])
            used = 0
        lines[-1].append(i)
        used += width
    return lines


def _visible(token: str, limit: int = 24) -> str:
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in token).replace(" ", "␣")
    return (text if len(text) <= limit else text[: limit - 1] + "…") or "∅"


def _title(result: EvidenceResult, sequence: SequenceEvidence) -> str:
    k = sequence.predicted
    text = f"evidence for {result.classes[k]!r}: logit {float(sequence.logits[k]):+.2f}"
    if sequence.label is not None and 0 <= sequence.label < len(result.classes):
        text += f", label {result.classes[sequence.label]!r}"
    return text


def _account(sequence: SequenceEvidence) -> str:
    """How the logit adds up."""
    k = sequence.predicted
    parts = (
        ("tokens", float(sequence.contributions[:, k].nansum())),
        ("initial state", float(sequence.initial[k])),
        ("network's own", float(sequence.own[k])),
        ("bias", float(sequence.bias[k])),
    )
    shares = ", ".join(f"{name} {value:+.2f}" for name, value in parts)
    return f"{shares}; in all {float(sequence.logits[k]):+.2f}"


def _units(result: EvidenceResult) -> str:
    return "logits, less the mean over classes" if result.relative else "logits"
