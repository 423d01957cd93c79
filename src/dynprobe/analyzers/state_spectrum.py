"""The leading dimensions of matrix states, beside those that random inputs would have given."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.results import Result
from dynprobe.errors import ShapeError
from dynprobe.recording import Recording
from dynprobe.recurrences.nulls import NULLS
from dynprobe.recurrences.participation import LEADING, estimate
from dynprobe.recurrences.principal import principal_components
from dynprobe.recurrences.state_matrix import OF, PER_NORMALISER

RECORDED = "recorded"


@dataclass(frozen=True)
class Spectrum:
    """How much of the variance lies in how many directions.

    Attributes
    ----------
    shares : Tensor
        (k,), of the leading principal components; NaN where there is no variance.
    participation_ratio : float
        Of all of them; NaN where there is no variance.
    """

    shares: Tensor
    participation_ratio: float


@dataclass(frozen=True)
class StateSpectrumResult(Result):
    """Spectra of the states of a rank-one recurrence.

    Attributes
    ----------
    spectra : dict
        By states ("S", "S/t", and "S/z" where there is a normaliser), then by inputs: "recorded",
        "random" and "phase", see :func:`dynprobe.recurrences.nulls.null_inputs`.
    notes : dict
        By null: why it is missing, or which sequences it leaves as they are.
    """

    spectra: dict[str, dict[str, Spectrum]]
    notes: dict[str, str] = field(default_factory=dict)


class StateSpectrum(Analyzer):
    """PCA of S, S/t and S/z without forming them, for the recorded inputs and two nulls.

    Parameters
    ----------
    k : int
        Components whose shares are given, at most 16.
    """

    name = "state_spectrum"
    requires = frozenset({"factors"})

    def __init__(self, k: int = 3) -> None:
        if not 1 <= k <= LEADING:
            raise ValueError(f"k is {k}; give a number of components from 1 to {LEADING}.")
        self.k = k

    def analyze(self, ctx: Context) -> StateSpectrumResult:
        recorded = ctx.recording
        assert recorded.form is not None
        kinds = [of for of in OF if of != PER_NORMALISER or recorded.form.normaliser]
        spectra: dict[str, dict[str, Spectrum]] = {of: {} for of in kinds}
        runs, notes = {RECORDED: recorded}, {}
        for how in NULLS:
            try:
                runs[how] = recorded.null(how, seed=ctx.seed)
            except ShapeError as error:
                notes[how] = str(error)
                continue
            if remarks := runs[how].meta.notes[1:]:
                notes[how] = "; ".join(remarks)
        for turn, (inputs, run) in enumerate(runs.items()):
            for of in kinds:
                spectra[of][inputs] = self._spectrum(run, of, ctx.seed)
            ctx.progress(turn + 1, len(runs))
        return StateSpectrumResult(spectra, notes)

    def _spectrum(self, recording: Recording, of: str, seed: int) -> Spectrum:
        states = recording.matrix(of)
        pca = principal_components(states, LEADING, seed=seed)
        shares = pca.variance[: self.k].double() / pca.total_variance
        return Spectrum(shares.cpu(), estimate(states, pca, seed=seed))
