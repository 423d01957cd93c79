"""Pictures of results that belong to no report: ``dynprobe.draw(result)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynprobe.dynamics.branches import Branches
from dynprobe.dynamics.orbits import PeriodicOrbits
from dynprobe.dynamics.pushes import Attraction

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(result: Branches | PeriodicOrbits | Attraction, **options: Any) -> Figure:
    """Draw branches of fixed points, periodic orbits, or an attraction test.

    Parameters
    ----------
    result : Branches, PeriodicOrbits or Attraction
        What ``continue_fixed_points``, ``find_periodic_points`` or ``attraction`` gave.
    **options
        Of branches and orbits, ``directions``: Tensor (1, state_dim) or (2, state_dim) onto which
        states are projected, instead of their principal components. Of orbits, ``cloud``: states
        (many, state_dim) to show behind them.

    Returns
    -------
    matplotlib.figure.Figure
        With no window: ``figure.savefig("branches.png", dpi=200)``.

    Raises
    ------
    TypeError
        If the result is none of these, or an option is unknown.
    """
    # matplotlib is imported when a picture is asked for
    from dynprobe.report.figures import branches, orbits, pushes

    if isinstance(result, Branches):
        return branches.draw(result, **options)
    if isinstance(result, PeriodicOrbits):
        return orbits.draw(result, **options)
    if isinstance(result, Attraction):
        return pushes.draw(result, **options)
    raise TypeError(
        f"draw() takes Branches, PeriodicOrbits or an Attraction, not {type(result).__name__}."
    )
