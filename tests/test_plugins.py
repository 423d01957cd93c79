"""Installed plugins, with packages that are really installed."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
from packages import Package, pip_install

import dynprobe
from dynprobe.analyzers.registry import analyzer_names, find_analyzer, unregister_analyzer
from dynprobe.errors import PluginError, PluginWarning, UnknownNameError
from dynprobe.plugins import ALLOW_LIST, ANALYZERS, discover
from dynprobe.recurrences.registry import unregister_recurrence

GOOD = """
from dataclasses import dataclass
import torch, dynprobe

@dataclass(frozen=True)
class Result:
    n: int

class NStates(dynprobe.Analyzer):
    api = 1

    def analyze(self, ctx):
        return Result(len(ctx.recording.flat()))
"""
CELL = """
import torch, dynprobe

class Leaky(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.w = torch.nn.Linear(n, n)

    def forward(self, x, h=None):
        h = torch.zeros_like(x) if h is None else h
        return 0.9 * h + 0.1 * torch.tanh(self.w(h) + x)

class LeakyRecurrence(dynprobe.Recurrence):
    def __init__(self, module):
        self.module = module
        self.input_dim = module.w.in_features
        self.layout = dynprobe.Layout.of(h=self.input_dim)

    def step(self, state, x):
        return self.call(x, state)
"""


def analyzers(**classes: str) -> str:
    """A module of analyzers whose bodies are given."""
    bodies = [f"class {name}(dynprobe.Analyzer):\n    {body}\n" for name, body in classes.items()]
    return "import dynprobe\n" + "\n".join(bodies)


PACKAGES = [
    Package("broken-plugin", "raise RuntimeError('this package is broken')", {"broken": "A"}),
    Package("exiting-plugin", "raise SystemExit(3)", {"exits": "A"}),
    Package("old-plugin", GOOD.replace("api = 1", "api = 0"), {"old": "NStates"}),
    Package("shadowing-plugin", GOOD, {"manifold_dimension": "NStates"}),
    Package("twin-one", GOOD, {"twin": "NStates"}),
    Package("twin-two", GOOD, {"twin": "NStates"}),
    Package(
        "raising-plugin",
        analyzers(
            Raises="def analyze(self, ctx): raise ZeroDivisionError('a bug of its own')",
            Exits="def analyze(self, ctx): raise SystemExit(3)",
        ),
        {"raises": "Raises", "exits_late": "Exits"},
    ),
    Package(
        "nonsense-plugin",
        analyzers(
            Nothing="def analyze(self, ctx): return None",
            Dict="def analyze(self, ctx): return {'n': 1}",
            Class="def analyze(self, ctx): return type(self)",
        ),
        {"nothing": "Nothing", "dict": "Dict", "class": "Class"},
    ),
    Package(
        "needy-plugin",
        analyzers(
            Spikes="requires = frozenset({'spikes'})\n    def analyze(self, ctx): ...",
            Word="requires = 'states'\n    def analyze(self, ctx): ...",
            Tokens="requires = frozenset({'tokens'})\n    def analyze(self, ctx): ...",
            Sly="def analyze(self, ctx): return ctx.recurrence",
            Picky="def __init__(self, size): ...\n    def analyze(self, ctx): ...",
        ),
        {"spikes": "Spikes", "word": "Word", "tokens": "Tokens", "sly": "Sly", "picky": "Picky"},
    ),
    Package("other-plugin", "def analyze(ctx): ...", {"function": "analyze", "absent": "Absent"}),
    Package(
        "unpresentable-plugin",
        """
        from dataclasses import dataclass
        import dynprobe

        @dataclass(frozen=True)
        class Result:
            what: object

            def summary(self):
                raise ValueError("no rows")

            def figure(self):
                raise ValueError("no picture")

            def to_dict(self):
                raise ValueError("no numbers")

        class Mute(dynprobe.Analyzer):
            def analyze(self, ctx):
                return Result(object())
        """,
        {"mute": "Mute"},
    ),
    Package(
        "good-plugin",
        GOOD + CELL.removeprefix("\nimport torch, dynprobe"),
        {"n_states": "NStates"},
        {"good_plugin.Leaky": "LeakyRecurrence"},
    ),
    Package(
        "broken-cells",
        CELL
        + """
class Unreadable(Leaky): ...
class UnreadableRecurrence(LeakyRecurrence):
    def __init__(self, module):
        raise KeyError("no such weight")

class Later(Leaky): ...
class LaterRecurrence(LeakyRecurrence):
    api = 2

class Twin(Leaky): ...
class NoRecurrence(Leaky): ...
""",
        {},
        {
            "broken_cells.Leaky": "Missing",
            "broken_cells.Unreadable": "UnreadableRecurrence",
            "broken_cells.Later": "LaterRecurrence",
            "broken_cells.Twin": "LeakyRecurrence",
            "broken_cells.NoRecurrence": "Twin",
            "torch.nn.modules.rnn.GRU": "LeakyRecurrence",
        },
    ),
    Package("twin-cells", CELL, {}, {"broken_cells.Twin": "LeakyRecurrence"}),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder where all of these are installed."""
    root = tmp_path_factory.mktemp("plugins")
    pip_install(*(package.write(root) for package in PACKAGES), target=root / "site")
    return root / "site"


@pytest.fixture
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr("dynprobe.plugins._WARNED", set())
    importlib.invalidate_caches()
    yield site
    for package in PACKAGES:
        sys.modules.pop(package.module, None)


REC = dynprobe.Recording.from_arrays(torch.randn(4, 5, 3))


def test_listing_imports_nothing(installed):
    names = [p.name for p in discover(ANALYZERS)]
    assert {"broken", "n_states"} <= set(names)
    assert {"broken", "n_states"} <= set(analyzer_names())
    assert "good_plugin" not in sys.modules
    assert "broken_plugin" not in sys.modules


def test_an_installed_plugin_runs_when_named_and_only_then(installed, monkeypatch):
    monkeypatch.setenv(ALLOW_LIST, "good-plugin")
    dynprobe.analyze(REC)
    assert "good_plugin" not in sys.modules
    assert dynprobe.analyze(REC, ["n_states"])["n_states"].n == 20


BROKEN = {
    # name: (distribution, what its message says, the cause)
    "broken": ("broken-plugin", "RuntimeError: this package is broken", RuntimeError),
    "exits": ("exiting-plugin", "cannot be imported: SystemExit: 3", SystemExit),
    "absent": ("other-plugin", "cannot be imported: AttributeError", AttributeError),
    "function": ("other-plugin", "not a subclass of dynprobe.Analyzer", None),
    "old": ("old-plugin", "is written for api 0; this dynprobe supports api 1", None),
    "spikes": ("needy-plugin", "requires ['spikes']; known requirements are", None),
    "word": ("needy-plugin", "requires = 'states', not a set of names", None),
    "picky": ("needy-plugin", "Give every parameter of its __init__ a default", TypeError),
    "twin": ("twin-one", "is offered by twin-one 1.2.3 and twin-two 1.2.3", None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_isolated_named_warned_about_once_and_raised_in_full(installed, name):
    distribution, message, cause = BROKEN[name]
    with pytest.warns(PluginWarning) as warned:
        report = dynprobe.analyze(REC, [name, "n_states"])
    assert [f"{distribution} 1.2.3" in str(w.message) for w in warned] == [True]
    assert message in str(warned[0].message)
    assert report["n_states"].n == 20  # the others run
    again = dynprobe.analyze(REC, [name])  # a second warning would be an error here
    for failure in (report.failures[name, "states"], again.failures[name, "states"]):
        assert f"{distribution} 1.2.3" in str(failure)
        assert message in str(failure)
    with pytest.raises(dynprobe.DynprobeError) as raised:
        report[name]
    assert isinstance(raised.value.__cause__, PluginError)
    if cause is not None:
        assert isinstance(raised.value.__cause__.__cause__, cause)
        assert cause.__name__ in report.failures[name, "states"].traceback


@pytest.mark.parametrize("name", sorted({*BROKEN} - {"picky"}))
def test_asking_for_the_class_raises_in_full(installed, name):
    with pytest.raises(PluginError, match=f"{BROKEN[name][0]} 1.2.3"):
        find_analyzer(name)


@pytest.mark.parametrize(
    ("name", "distribution", "message"),
    [
        ("raises", "raising-plugin", "ZeroDivisionError: a bug of its own"),
        ("exits_late", "raising-plugin", "SystemExit: 3"),
        ("nothing", "nonsense-plugin", "returned None, a NoneType; analyze() must return"),
        ("dict", "nonsense-plugin", "returned {'n': 1}, a dict; analyze() must return"),
        ("class", "nonsense-plugin", "analyze() must return an instance of a frozen dataclass"),
        ("sly", "needy-plugin", 'An analyzer that needs one says so: requires = frozenset({"rec'),
    ],
)
def test_a_plugin_that_fails_in_the_analysis_is_named(installed, name, distribution, message):
    with pytest.warns(PluginWarning, match=f"{distribution} 1.2.3"):
        report = dynprobe.analyze(REC, ["n_states", name])
    assert report["n_states"].n == 20
    failure = report.failures[name, "states"]
    assert str(failure).count(f"{distribution} 1.2.3") == 1
    assert message in str(failure)
    assert message[:40] in " ".join(str(report).split())
    with pytest.raises(dynprobe.DynprobeError, match="failed on 'states'") as raised:
        report[name]
    assert raised.value.__cause__ is failure.error


def test_a_requirement_that_the_run_lacks_is_a_reason_not_a_failure(installed):
    report = dynprobe.analyze(REC, ["tokens"])
    assert report.skipped["tokens", "states"] == "needs the tokens"


def test_a_plugin_with_the_name_of_a_built_in_does_not_replace_it(installed):
    match = "'manifold_dimension' is offered by dynprobe itself and shadowing-plugin 1.2.3"
    with pytest.warns(PluginWarning, match=match):
        report = dynprobe.analyze(REC)
    assert report["manifold_dimension"].visited.count == 20
    dynprobe.analyze(REC)  # warned about once
    assert "shadowing_plugin" not in sys.modules
    import shadowing_plugin

    register = dynprobe.register_analyzer("manifold_dimension", override=True)
    try:
        register(shadowing_plugin.NStates)
        report = dynprobe.analyze(REC, ["manifold_dimension"])
        assert report["manifold_dimension"].n == 20
        assert "20" in str(report)
    finally:
        unregister_analyzer("manifold_dimension")


def test_a_report_with_a_built_in_replaced_is_still_a_page(installed, tmp_path):
    import shadowing_plugin

    try:
        for name in ("manifold_dimension", "fixed_points", "integration_direction"):
            dynprobe.register_analyzer(name, override=True)(
                type("Own", (shadowing_plugin.NStates,), {})
            )
        page = dynprobe.analyze(REC).save(tmp_path / "r.html").read_text()
    finally:
        for name in ("manifold_dimension", "fixed_points", "integration_direction"):
            unregister_analyzer(name)
    assert "20 states of states were recorded" in page


def test_one_of_two_packages_is_chosen_by_override_or_by_the_allow_list(installed, monkeypatch):
    import twin_two

    with pytest.raises(PluginError, match="exists already"):
        dynprobe.register_analyzer("twin")(type("Mine", (dynprobe.Analyzer,), {}))
    monkeypatch.setenv(ALLOW_LIST, "twin-one")
    assert find_analyzer("twin").__module__ == "twin_one"
    monkeypatch.delenv(ALLOW_LIST)
    try:
        dynprobe.register_analyzer("twin", override=True)(twin_two.NStates)
        assert dynprobe.analyze(REC, ["twin"])["twin"].n == 20
    finally:
        unregister_analyzer("twin")


def test_results_that_cannot_be_shown_cost_only_themselves(installed, tmp_path):
    report = dynprobe.analyze(REC, ["mute", "n_states"])
    assert "ValueError: no rows" in str(report)
    shown = report.to_dict()["layers"]["states"]["results"]
    assert shown == {"mute": {"not shown": "ValueError: no numbers"}, "n_states": {"n": 20}}
    assert "no picture" in report.save(tmp_path / "r.html").read_text()
    assert report.save(tmp_path / "r.json").stat().st_size > 0


@pytest.mark.parametrize(
    ("listed", "allowed"),
    [
        (None, True),
        ("", False),
        ("n_states", True),
        ("broken, n_states", True),
        ("Good_Plugin", True),
        ("broken", False),
    ],
)
def test_the_allow_list(installed, monkeypatch, listed, allowed):
    if listed is not None:
        monkeypatch.setenv(ALLOW_LIST, listed)
    assert ("n_states" in analyzer_names()) == allowed
    if allowed:
        assert dynprobe.analyze(REC, ["n_states"])["n_states"].n == 20
        return
    with pytest.raises(PluginError, match=f"good-plugin 1.2.3.*is set to '{listed}'"):
        find_analyzer("n_states")
    assert "good_plugin" not in sys.modules
    with pytest.raises(UnknownNameError):
        find_analyzer("n_state")


def test_a_recurrence_plugin_is_found_by_the_class_of_the_module(installed):
    import good_plugin

    cell = good_plugin.Leaky(3)
    with dynprobe.attach(cell) as probe:
        h = None
        for x in torch.randn(6, 2, 3):
            h = cell(x, h)
    rec = probe.recording("leaky")
    assert rec.states.shape == (2, 6, 3)
    assert torch.equal(rec.final, h)
    fp = dynprobe.find_fixed_points(probe.recurrence(), rec.sample(10))
    assert fp.converged.all()


CELLS = {
    "Leaky": "cannot be imported: AttributeError",
    "Unreadable": "cannot read this Unreadable: KeyError: 'no such weight'",
    "Later": "is written for api 2; this dynprobe supports api 1",
    "Twin": "is offered by broken-cells 1.2.3 and twin-cells 1.2.3",
    "NoRecurrence": "neither a dynprobe.Recurrence nor a dynprobe.Observer",
}


@pytest.mark.parametrize("name", CELLS)
def test_a_broken_recurrence_costs_only_its_own_layer(installed, name):
    import broken_cells

    cell = getattr(broken_cells, name)(3)
    model = torch.nn.ModuleDict({"known": torch.nn.RNN(3, 4), "cell": cell})
    with pytest.warns(PluginWarning) as warned:
        probe = dynprobe.attach(model)
    assert [layer.key for layer in probe.layers] == ["known"]
    probe.detach()
    (message,) = (str(w.message) for w in warned)
    assert CELLS[name] in message
    assert "broken-cells 1.2.3" in message
    dynprobe.attach(model).detach()  # warned about once
    for choice in ("cell", cell):
        with pytest.raises(PluginError, match="broken-cells 1.2.3"):
            dynprobe.attach(model, layers=choice)
    with pytest.raises(PluginError, match="broken-cells 1.2.3"):
        dynprobe.attach(cell)  # there is nothing else


def test_a_plugin_for_a_module_of_torch_does_not_replace_it(installed):
    with pytest.warns(PluginWarning, match=r"GRU is offered by dynprobe itself and broken-cells"):
        probe = dynprobe.attach(torch.nn.GRU(2, 3))
    assert type(probe.recurrence()).__name__ == "GRURecurrence"
    probe.detach()
    assert "broken_cells" not in sys.modules


def test_the_nearest_class_is_read_by_its_own_recurrence(installed):
    import good_plugin

    class Near(good_plugin.Leaky):
        pass

    class Nearer(Near):
        pass

    @dynprobe.register_recurrence(Nearer)
    class Mine(good_plugin.LeakyRecurrence):
        pass

    try:
        with dynprobe.attach(Nearer(2)) as probe:
            assert type(probe.recurrence()) is Mine
        with dynprobe.attach(Near(2)) as probe:
            assert type(probe.recurrence()) is good_plugin.LeakyRecurrence
    finally:
        unregister_recurrence(Nearer)


def test_taken_module_classes_need_override(installed):
    import broken_cells

    for taken in (torch.nn.GRU, broken_cells.Twin):
        with pytest.raises(PluginError, match="registered already"):
            dynprobe.register_recurrence(taken)(broken_cells.LeakyRecurrence)
    with pytest.raises(PluginError, match="not a class of modules"):
        dynprobe.register_recurrence(broken_cells.LeakyRecurrence)


def test_the_command_line_lists_them(installed, monkeypatch):
    from rich.console import Console
    from typer.testing import CliRunner

    from dynprobe.cli import app

    monkeypatch.setenv(ALLOW_LIST, ",".join({*BROKEN, "n_states", "good-plugin", "broken-cells"}))
    # not by COLUMNS, which counts when the console is made, and a worker's tests share one
    monkeypatch.setattr("dynprobe.cli.console", Console(width=250))
    done = CliRunner().invoke(app, ["plugins"])
    assert done.exit_code == 0
    header, *rows = done.output.splitlines()
    assert header.split() == ["name", "kind", "distribution", "version", "status"]
    cells = {}
    for row in rows:
        cells.setdefault(row[: row.index(" ")], row.split())
    own = dynprobe.__version__
    assert cells["manifold_dimension"][1:5] == ["analyzer", "dynprobe", own, "built"]
    assert cells["torch.nn.modules.rnn.LSTM"][1:5] == ["recurrence", "dynprobe", own, "built"]
    assert cells["n_states"][1:] == ["analyzer", "good-plugin", "1.2.3", "ok"]
    assert cells["good_plugin.Leaky"][1:] == ["recurrence", "good-plugin", "1.2.3", "ok"]
    text = " ".join(done.output.split())
    for message in ("written for api 0", "this package is broken", "written for api 2"):
        assert message in text
    assert "raises analyzer raising-plugin 1.2.3 The plugin 'raises' (from" in text
    assert "and does not allow it" in text
    assert "raising_plugin" not in sys.modules


def test_a_package_installed_meanwhile_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "late" not in [p.name for p in discover(ANALYZERS)]
    info = tmp_path / "late_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dynprobe.analyzers]\nlate = late_plugin:Late\n")
    assert "late" in [p.name for p in discover(ANALYZERS)]
