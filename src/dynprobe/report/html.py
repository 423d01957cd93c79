"""A report as one page that needs nothing else: no network, no files beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dynprobe.analyzers.dimension_scale import DimensionScaleResult
from dynprobe.analyzers.fixed_points import FixedPointsResult
from dynprobe.analyzers.integration_direction import IntegrationDirectionResult
from dynprobe.analyzers.manifold_dimension import ManifoldDimensionResult
from dynprobe.analyzers.mode_ablation import ModeAblation, Outcome
from dynprobe.report.definitions import HEADLINES, PUSH, explained
from dynprobe.report.figures import pictures
from dynprobe.report.figures.time_constants import ENDLESS
from dynprobe.report.headlines import Headline, headlines, own
from dynprobe.report.payload import block, payload
from dynprobe.report.report import Report
from dynprobe.report.scripts import own_script, packed_plotly, policy
from dynprobe.report.summary import Row, number, summary
from dynprobe.report.template import Shown, footer, render, shown

#: Stands for the size of the page until the page is there.
SIZE = "{{SIZE}}"


@dataclass(frozen=True)
class Section:
    """One layer of the page."""

    layer: str
    anchor: str
    headlines: list[Headline]
    sentences: list[str]
    figures: list[Shown]
    tables: dict[str, list[Row]]
    skipped: dict[str, str]
    failed: dict[str, tuple[str, str]]
    notes: tuple[str, ...]

    @property
    def by_label(self) -> dict[str, str]:
        """Headline numbers by what they are."""
        return {h.label: h.value for h in self.headlines}


def render_html(report: Report) -> str:
    """Make one self-contained page of a report.

    Parameters
    ----------
    report : Report
        What to show. Names and error texts in it are escaped.

    Returns
    -------
    str
        HTML with the figures inside; it loads nothing, and runs its own scripts alone.
    """
    sections = [_section(report, layer, i) for i, layer in enumerate(report.layers)]
    first = _most_telling(report, sections)
    ordered = sections if first is None else [first, *sections]
    layers = payload(report)
    page = render(
        "page.html",
        policy=policy(),
        layers=[layer["layer"] for layer in layers],
        data=block({"layers": layers, "numbers": _numbers(sections)}),
        plotly=packed_plotly() if layers else "",
        script=own_script(),
        headlines_explained=HEADLINES,
        explained=explained,
        push=PUSH,
        size=SIZE,
        sections=sections,
        first=first,
        measures=list(dict.fromkeys(h.label for s in ordered for h in s.headlines)),
        details=report.details,
        interrupted=report.interrupted,
        footer=footer(report.seed),
    )
    return page.replace(SIZE, f"{len(page.encode('utf-8')) / 1e6:.1f} MB", 1)


def _numbers(sections: list[Section]) -> list[dict[str, str]]:
    """Every number of the page, as its tables show it."""
    return [
        {
            "layer": section.layer,
            "analyzer": analyzer,
            "measure": row.measure,
            "value": row.value,
            "meaning": row.meaning,
        }
        for section in sections
        for analyzer, rows in section.tables.items()
        for row in rows
    ]


def _section(report: Report, layer: str, index: int) -> Section:
    skipped = {name: why for (name, at), why in report.skipped.items() if at == layer}
    failures = {name: f for (name, at), f in report.failures.items() if at == layer}
    return Section(
        layer=layer,
        anchor=f"layer-{index}",
        headlines=list(headlines(report, layer)),
        sentences=list(_sentences(report, layer)),
        figures=[shown(p, name=f"{layer}.{p.name}") for p in pictures(report, layer)],
        tables={
            name: rows
            for name, rows in summary(report, layer).items()
            if name not in skipped and name not in failures
        },
        skipped=skipped,
        failed={name: (str(f), f.traceback) for name, f in failures.items()},
        notes=report.views[layer].notes,
    )


def _most_telling(report: Report, sections: list[Section]) -> Section | None:
    """The layer that the page opens with: the last one that is read out, else the last."""
    judged = [s for s in sections if report.views[s.layer].accuracy is not None]
    read_out = [s for s in sections if report.views[s.layer].prediction is not None]
    candidates = judged or read_out or sections
    return candidates[-1] if candidates else None


def _sentences(report: Report, layer: str) -> Iterator[str]:
    """The same in words."""
    view = report.views[layer]
    yield f"{view.states_seen:,} states of {layer} were recorded."
    dimension = own(report, "manifold_dimension", layer, ManifoldDimensionResult)
    if dimension is not None and math.isfinite(dimension.participation_ratio):
        n, k = dimension.n_classes, dimension.components_95
        text = f"They use about {dimension.participation_ratio:.1f} dimensions"
        text += f" ({k} principal component{'' if k == 1 else 's'} for 95 % of the variance)"
        yield text + ("." if n is None else f"; integrating {n} classes takes {n - 1}.")
    by_scale = own(report, "dimension_scale", layer, DimensionScaleResult)
    if by_scale is not None and "GRIDE" in by_scale.scales.curves:
        gride = by_scale.scales.curves["GRIDE"]
        near, far = (f"{float(gride.dimension[i]):.1f}" for i in (0, -1))
        yield (
            f"Looked at by neighbourhoods (GRIDE), they have {near} dimensions at "
            f"{int(gride.neighbors[0])} neighbours and {far} at {int(gride.neighbors[-1])}."
        )
    found = own(report, "fixed_points", layer, FixedPointsResult)
    if found is not None:
        points = "point" if len(found.unique) == 1 else "points"
        yield (
            f"With {found.held}, the search certified {len(found.unique)} distinct fixed {points} "
            f"({_kinds(found)}), and {found.n_slow} seeds came to rest on slow points."
        )
    integration = own(report, "integration_direction", layer, IntegrationDirectionResult)
    if integration is not None and len(integration.time_constants):
        longest, length = float(integration.time_constants[:, 1].max()), integration.sequence_length
        if longest > ENDLESS * length:
            yield "Some mode neither fades nor grows: its time constant has no end."
        else:
            yield (
                f"The longest time constant of a mode, fading or growing, is {number(longest)} "
                f"{integration.unit} in the median; a sequence lasts {length:g}."
            )
    if integration is not None and integration.ablation is not None:
        yield _causal(integration.ablation)


def _causal(found: ModeAblation) -> str:
    """What the network can do with its slow modes alone, and without them."""
    labelled = found.unedited.accuracy is not None
    verb = "classifies" if labelled else "answers as before for"
    end = "correctly" if labelled else ""

    def share(outcome: Outcome) -> str:
        return f"{100 * outcome.score:.0f} %"

    modes = "slow mode" if found.rank == 1 else f"{found.rank} slow modes"
    what = f"all {found.n_modes} modes" if found.of_all else f"nothing but the {modes}"
    n = found.n_labelled if labelled else found.n_sequences
    text = (
        f"Run again with {what} of one point (largest |λ|) kept at every step, it {verb} "
        f"{share(found.keep)} of {n} sequences {end}".rstrip()
        + f"; with {'it' if found.rank == 1 else 'them'} removed, {share(found.remove)}"
    )
    if labelled:
        text += f" (unedited {share(found.unedited)}, chance {100 * found.chance:.0f} %)"
    else:
        text += f" (always its commonest answer: {100 * found.chance:.0f} %)"
    if found.random_keep:
        kept, removed = (
            100 * sum(o.score for o in outcomes) / len(outcomes)
            for outcomes in (found.random_keep, found.random_remove)
        )
        text += f"; random directions instead: {kept:.0f} % kept, {removed:.0f} % removed"
    if found.labels_problem:
        text += f". There is no accuracy: {found.labels_problem}"
    return text + "."


def _kinds(found: FixedPointsResult) -> str:
    """Stability of the distinct fixed points; on a continuum it is marginal by construction."""
    stable, continuum = int(found.attractors.sum()), int(found.on_continuum.sum())
    parts = [f"{stable} stable"] if stable or not continuum else []
    return ", ".join(parts + ([f"{continuum} on a continuum"] if continuum else []))
