"""The command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dynprobe.study.kinds import Kind

if TYPE_CHECKING:
    from dynprobe.plugins import Plugin
    from dynprobe.report import Report
    from dynprobe.study.stage import Stage

app = typer.Typer(
    name="dynprobe",
    help="See what a recurrent or linear-attention model computes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
plugins_app = typer.Typer(invoke_without_command=True)
app.add_typer(plugins_app, name="plugins")
console = Console()
errors = Console(stderr=True)


class Task(StrEnum):
    """Synthetic tasks that models can be compared on."""

    categorical = "categorical"


class Cell(StrEnum):
    """Recurrent layers that can be trained from the command line."""

    gru = "gru"
    lstm = "lstm"


Out = Annotated[
    Path, typer.Option(help="Where to write: .html, .json, or a folder for PNG pictures.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Device = Annotated[
    str,
    typer.Option(help="Where networks are trained: cpu, cuda, cuda:1, ...; measured on the CPU."),
]


@app.callback()
def options(
    threads: Annotated[
        int, typer.Option(min=1, help="Threads torch computes with; at these sizes 1 is fastest.")
    ] = 1,
) -> None:
    """See what a recurrent or linear-attention model computes."""
    import torch

    torch.set_num_threads(threads)


@app.command()
def demo(
    out: Out = Path("report.html"),
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 3,
    units: Annotated[int, typer.Option(min=2, help="Units of the GRU.")] = 64,
    steps: Annotated[
        int, typer.Option(min=1, help="Training steps; the last 300 cool down.")
    ] = 3000,
    seed: Seed = 0,
) -> None:
    """Train a GRU on counting evidence, attach, analyse, write a report."""
    from dynprobe.study.demo import run_demo

    _check_suffix(out)
    with _progress() as stage:
        report = run_demo(
            n_classes=classes,
            hidden_size=units,
            steps=steps,
            cooldown=min(300, steps // 2),
            seed=seed,
            progress=stage,
        )
    _show(report, out)


@app.command()
def run(
    text: Annotated[Path, typer.Option(help="CSV or TSV file, or a folder with train and test.")],
    model: Annotated[Cell, typer.Option(help="Recurrent layer.")] = Cell.gru,
    out: Out = Path("report.html"),
    text_column: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
    units: Annotated[int, typer.Option(min=2, help="Units of the layer.")] = 128,
    epochs: Annotated[int, typer.Option(min=1, help="Times through the training texts.")] = 4,
    seed: Seed = 0,
) -> None:
    """Train a classifier on labelled text, attach, analyse, write a report."""
    from dynprobe.study.text_study import TextModel, run_text

    _check_suffix(out)
    with _progress() as stage:
        report = run_text(
            text,
            model=TextModel(cell=model.value, hidden_size=units, epochs=epochs),
            text_column=text_column,
            label_column=label_column,
            seed=seed,
            progress=stage,
        )
    _show(report, out)


@app.command()
def analyze(
    recording: Annotated[
        Path,
        typer.Argument(help="A file written by Recording.save(), or a folder by record_to()."),
    ],
    layer: Annotated[
        str | None, typer.Option(help="Recurrence, of a folder that holds several.")
    ] = None,
    analyzer: Annotated[
        list[str] | None, typer.Option(help="Analyzer to run; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the report, if at all.")] = None,
    seed: Seed = 0,
) -> None:
    """Analyse a saved recording."""
    import dynprobe

    if out is not None:
        _check_suffix(out)
    report = dynprobe.analyze(dynprobe.load(recording, layer), analyzer or None, seed=seed)
    _show(report, out)


@app.command()
def compare(
    kinds: Annotated[
        list[Kind], typer.Argument(help="Two or more; one given twice gets another seed.")
    ],
    task: Annotated[Task, typer.Option(help="Synthetic task, without --text.")] = Task.categorical,
    classes: Annotated[int, typer.Option(min=2, help="Classes of the task.")] = 3,
    length: Annotated[int, typer.Option(min=2, help="Words of a phrase of the task.")] = 50,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps of every model; by recipe if left out."),
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="Labelled text instead: CSV or TSV file, or a folder.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Times through the texts; by recipe if left out.")
    ] = None,
    out: Out = Path("compare.html"),
    seed: Seed = 0,
) -> None:
    """Train models of several kinds on the same data and show them side by side."""
    from dynprobe.study.comparison_study import compare_on_counting, compare_on_text

    _check_suffix(out)
    if len(kinds) < 2:
        raise typer.BadParameter("a comparison needs at least two.", param_hint="KINDS")
    names = [kind.value for kind in kinds]
    with _progress() as stage:
        if text is None:
            comparison = compare_on_counting(
                names, n_classes=classes, length=length, steps=steps, seed=seed, progress=stage
            )
        else:
            comparison = compare_on_text(
                names,
                text,
                text_column=text_column,
                label_column=label_column,
                epochs=epochs,
                seed=seed,
                progress=stage,
            )
    for name, told in comparison.details.items():
        for key, value in told.items():
            console.print(Text.assemble((f"{name}, {key}: ", "cyan"), value))
    console.print(comparison)
    console.print(Text(f"Written to {comparison.save(out)}"))


@app.command()
def reproduce(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for networks, numbers and the page; reproduction[-quick]."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small networks and few seeds, in minutes.")
    ] = False,
    news: Annotated[
        Path | None, typer.Option(help="Folder of AG News, for the one row that needs it.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Train and measure the networks of Aitken et al. 2020; set every number beside theirs.

    A run that was stopped goes on from where it was: give the same folder.
    """
    from dynprobe.study.reproduce.page import write_page
    from dynprobe.study.reproduce.run import reproduce as run_all
    from dynprobe.study.reproduce.settings import full_settings, quick_settings

    settings = quick_settings() if quick else full_settings()
    folder = out or Path("reproduction-quick" if quick else "reproduction")
    with _progress() as stage:
        found = run_all(settings, folder, news=news, device=_device(device), progress=stage)
    page = write_page(found, quick=quick)
    if found.interrupted:
        console.print(Text("Stopped; the same command goes on from here.", "yellow"))
    console.print(Text(f"Written to {page}; every number is in {folder / 'rows.csv'}"))


@app.command()
def survey(
    out: Annotated[Path, typer.Option(help="Folder for networks, numbers and the page.")] = Path(
        "survey"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Three models, two small tasks, one seed, in minutes.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Folder with ag_news, sst5 and goemotions, for the texts.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be run and how long it takes; stop.")
    ] = False,
    device: Device = "cpu",
) -> None:
    """Ask whether transformers and state-space models integrate evidence as RNNs do.

    A run that was stopped goes on from where it was: give the same folder.
    """
    from dynprobe.atomic import whole_file
    from dynprobe.study.survey.page import render_survey
    from dynprobe.study.survey.plan import costs, described
    from dynprobe.study.survey.run import survey as run_all
    from dynprobe.study.survey.settings import full_settings, quick_settings

    settings = quick_settings() if quick else full_settings()
    where = _device(device)
    if plan:
        for line in described(costs(settings)):
            console.print(Text(line))
        return
    with _progress() as stage:
        found = run_all(settings, out, data=data, device=where, progress=stage)
    page = out / "survey.html"
    with whole_file(page) as part:
        part.write_text(render_survey(found, quick=quick), encoding="utf-8")
    if found.interrupted:
        console.print(Text("Stopped; the same command goes on from here.", "yellow"))
    console.print(Text(f"Written to {page}; every number is in {out / 'rows.csv'}"))


def _device(name: str) -> str:
    """The name, if there is such a device here."""
    import torch

    try:
        torch.ones(1, device=name).item()
    # torch's own builds say so by AssertionError, RuntimeError or NotImplementedError
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise typer.BadParameter(
            f"torch cannot use {name!r} here: {reason}. Pass --device cpu.",
            param_hint="--device",
        ) from error
    return name


@plugins_app.callback()
def plugins(context: typer.Context) -> None:
    """List analyzers and recurrences, built in and installed: name, package, version, status.

    Installed ones are imported to see whether they can be used; none is run.
    """
    if context.invoked_subcommand is not None:
        return
    from dynprobe import __version__
    from dynprobe.analyzers import registry as analyzers
    from dynprobe.plugins import ANALYZERS, RECURRENCES, discover
    from dynprobe.recurrences import registry as recurrences
    from dynprobe.recurrences.huggingface import MIXERS

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "kind", "distribution", "version", "status"):
        # a narrow terminal wraps a name, it does not cut it
        table.add_column(heading, overflow="fold")
    built_in = [(name, "analyzer") for name in analyzers.BUILT_IN]
    built_in += [(name, "recurrence") for name in sorted(recurrences.BUILT_IN)]
    for name, kind in built_in:
        table.add_row(name, kind, "dynprobe", __version__, "built in")
    for group, kind, load in (
        (ANALYZERS, "analyzer", analyzers.load_plugin),
        (RECURRENCES, "recurrence", recurrences.load_plugin),
    ):
        for plugin in discover(group, allowed=False):
            cells = (plugin.name, kind, plugin.distribution, plugin.version)
            table.add_row(*map(Text, cells), _status(plugin, load))
    console.print(table)
    mixers = f"Also built in: {len(MIXERS)} mixers of transformers, and flash-linear-attention."
    console.print(Text(mixers, style="dim"))


@plugins_app.command()
def new(
    name: Annotated[str, typer.Argument(help="What the analyzer is called, such as my_analyzer.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the package; ./dynprobe-NAME by default.")
    ] = None,
) -> None:
    """Write a package with an analyzer of your own, its entry point and its tests."""
    from dynprobe.scaffold import package_name, write_plugin

    folder = Path(package_name(name)) if out is None else out
    for path in write_plugin(name, folder):
        console.print(Text(f"Written: {path}"))
    # a bare name would be looked for on the package index
    where = folder if folder.is_absolute() else f"./{folder}"
    console.print(Text(f"Next: python -m pip install {where}, then dynprobe plugins"))


def main() -> None:
    """Run the command line; an error of dynprobe's own is one message, not a traceback."""
    from dynprobe.errors import DynprobeError

    try:
        app()
    except DynprobeError as error:
        errors.print(Text(f"dynprobe: {error}", style="red"))
        raise SystemExit(2) from None


@contextmanager
def _progress() -> Iterator[Stage]:
    """Yield a bar per stage; nothing where the output is not a terminal."""
    with Progress(
        TextColumn("{task.description:22}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=errors,
        disable=not errors.is_terminal,
    ) as bars:
        tasks = {}

        def stage(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name.replace("_", " "), total=total)
            bars.update(tasks[name], completed=done)

        yield stage


def _status(plugin: Plugin, load: Callable[[Plugin], object]) -> Text:
    from dynprobe.errors import PluginError

    try:
        load(plugin)
    except PluginError as error:
        return Text(str(error), style="red" if plugin.allowed else "yellow")
    return Text("ok")


def _check_suffix(out: Path) -> None:
    # before minutes of training, not after
    if out.suffix not in ("", ".html", ".htm", ".json"):
        raise typer.BadParameter(
            f"{out} ends in {out.suffix}; a report is .html, .json, or a folder of PNG files.",
            param_hint="--out",
        )
    if not out.parent.is_dir():
        raise typer.BadParameter(f"the folder {out.parent} does not exist.", param_hint="--out")


def _show(report: Report, out: Path | None) -> None:
    for key, value in report.details.items():
        console.print(Text.assemble((f"{key}: ", "cyan"), value))
    console.print(report)
    if out is not None:
        console.print(Text(f"Written to {report.save(out)}"))


if __name__ == "__main__":
    main()
