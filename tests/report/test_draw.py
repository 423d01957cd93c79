"""Pictures of branches, orbits and attraction tests: what a reader must find in them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import nn

import dynprobe
from dynprobe.errors import ShapeError
from dynprobe.report.figures.style import to_bytes

GRID = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]


def texts(figure: Figure) -> str:
    return " | ".join(t.get_text() for t in figure.findobj(Text) if t.get_text())


def bistable() -> dynprobe.Branches:
    unit = dynprobe.as_recurrence(lambda s, x: torch.tanh(2 * s + x), state_dim=1, input_dim=1)
    start = torch.tensor([-1.5], dtype=torch.float64)
    return dynprobe.continue_fixed_points(
        unit, dynprobe.find_fixed_points(unit, GRID, start), -start
    )


def turning(units: int = 2) -> dynprobe.PeriodicOrbits:
    module = nn.RNN(1, units, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
        module.weight_hh_l0[:2, :2] = torch.tensor([[0.4, -2.2], [1.9, 0.3]])
    recurrence = dynprobe.attach(module).recurrence()
    seeds = 2 * torch.rand(100, units, dtype=torch.float64) - 1
    return dynprobe.find_periodic_points(recurrence, seeds, 4)


def pushed(manifold: bool = True) -> dynprobe.Attraction:
    rates = torch.tensor([1.0, 0.5, 0.7], dtype=torch.float64)
    system = dynprobe.as_recurrence(lambda s, x: rates * s, state_dim=3, input_dim=1)
    basis = torch.eye(3)[:1] if manifold else None
    return dynprobe.attraction(system, torch.ones(4, 3), manifold=basis, steps=10)


def test_branches_show_stability_and_folds() -> None:
    branches = bistable()
    figure = dynprobe.draw(branches)
    said = texts(figure)
    assert all(word in said for word in ("stable", "unstable", "fold (2)", "position μ"))
    (ax,) = figure.axes
    folds = next(line for line in ax.lines if line.get_linestyle() == "None")
    assert folds.get_xdata() == pytest.approx([m.position for m in branches.folds])
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 1  # the branch between the folds
    assert to_bytes(figure, "png", dpi=50).startswith(b"\x89PNG")


def test_orbits_show_which_attract_and_what_was_given_behind_them() -> None:
    orbits = turning()
    figure = dynprobe.draw(orbits, cloud=torch.rand(50, 2))
    said = texts(figure)
    assert "Orbits of period 4" in said
    assert "unstable, |multiplier| 10.7" in said
    assert "states given" in said
    assert "PC 1" in texts(dynprobe.draw(turning(units=3)))
    assert to_bytes(figure, "png", dpi=50).startswith(b"\x89PNG")


def test_orbits_of_one_number_are_drawn_against_their_successors() -> None:
    logistic = dynprobe.as_recurrence(lambda s, x: 3.2 * s * (1 - s), state_dim=1, input_dim=1)
    seeds = GRID.abs() + 0.01
    figure = dynprobe.draw(dynprobe.find_periodic_points(logistic, seeds, 2))
    assert "s(t + 1)" in texts(figure)
    none = dynprobe.find_periodic_points(logistic, seeds, 3)
    assert "none found" in texts(dynprobe.draw(none))


def test_an_attraction_test_shows_the_control_beside_the_push() -> None:
    figure = dynprobe.draw(pushed())
    figure.canvas.draw()
    said = texts(figure)
    assert "mathdefault" not in said  # a formula of matplotlib's, unread
    assert "Pushed off the manifold: returns" in said
    assert "Pushed along it (control): stays" in said
    assert "share of the push" in said
    assert len(figure.axes) == 2
    assert len(dynprobe.draw(pushed(manifold=False)).axes) == 1


@pytest.mark.parametrize("result", [bistable, turning])
def test_directions_of_ones_own(result) -> None:  # type: ignore[no-untyped-def]
    drawn = result()
    width = drawn[0].states.shape[1] if isinstance(drawn, dynprobe.Branches) else 2
    figure = dynprobe.draw(drawn, directions=torch.ones(1, width))
    assert "direction 1" in texts(figure)
    with pytest.raises(ShapeError, match="directions have shape"):
        dynprobe.draw(drawn, directions=torch.ones(1, width + 1))


def test_other_things_are_refused() -> None:
    with pytest.raises(TypeError, match="not int"):
        dynprobe.draw(3)  # type: ignore[arg-type]


def test_matplotlib_is_loaded_when_a_picture_is_asked_for() -> None:
    code = (
        "import sys, torch, dynprobe\n"
        "s = dynprobe.as_recurrence(lambda s, x: 0.5 * s, state_dim=2, input_dim=1)\n"
        "a = dynprobe.attraction(s, torch.ones(1, 2))\n"
        "draw = dynprobe.draw\n"
        "print('matplotlib' in sys.modules, end=' ')\n"
        "draw(a)\n"
        "print('matplotlib' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    )
    assert out.stdout.split() == ["False", "True"]
