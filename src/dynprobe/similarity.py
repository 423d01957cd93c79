"""How alike representations, and dynamics, are: pure functions on tensors.

Of representations of the same points: :func:`cka`, :func:`cka_of_grams`, :func:`procrustes`,
:func:`mean_cca`, :func:`coordinates`. Of dynamics, whose states need not correspond: :func:`dmd`
fits a linear system, :func:`conjugacy_distance` compares two of them.
"""

from dynprobe.dynamics.dmd import DMD, dmd
from dynprobe.dynamics.similarity import ConjugacyDistance, conjugacy_distance
from dynprobe.geometry.similarity import cka, cka_of_grams, coordinates, mean_cca, procrustes

__all__ = [
    "DMD",
    "ConjugacyDistance",
    "cka",
    "cka_of_grams",
    "conjugacy_distance",
    "coordinates",
    "dmd",
    "mean_cca",
    "procrustes",
]
