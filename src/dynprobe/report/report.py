"""The outcome of an analysis: results, what was skipped and why, what failed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynprobe.errors import AmbiguousNameError, DynprobeError, UnknownNameError, suggest
from dynprobe.plain import plain
from dynprobe.report.view import View

Key = tuple[str, str]


@dataclass(frozen=True)
class Failure:
    """An analyzer that raised: the error, its traceback as text, and whose analyzer it is.

    `source` is the distribution and version of a plugin; empty for other analyzers.
    """

    error: BaseException
    traceback: str
    source: str = ""

    def __str__(self) -> str:
        text = f"{type(self.error).__name__}: {self.error}"
        return text if self.source in text else f"{text} (from {self.source})"


@dataclass
class Report:
    """Results by (analyzer, layer).

    ``report["fixed_points"]`` works where one layer was analysed, ``report["fixed_points",
    "rnn.l1"]`` always. Printing it shows a table; :meth:`save` writes a page.

    Attributes
    ----------
    results : dict
        (analyzer, layer) -> result.
    skipped : dict
        (analyzer, layer) -> why it did not run.
    failures : dict
        (analyzer, layer) -> :class:`Failure`.
    views : dict
        layer -> what the figures show of its states.
    details : dict
        What the page says about how the model came to be, such as a training recipe.
    unused : list of str
        Layers of the model that were never called.
    seed : int
        Seed of the analysis.
    interrupted : bool
        Whether it was interrupted; what was done until then is here.
    """

    results: dict[Key, Any] = field(default_factory=dict)
    skipped: dict[Key, str] = field(default_factory=dict)
    failures: dict[Key, Failure] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    seed: int = 0
    interrupted: bool = False

    @property
    def layers(self) -> list[str]:
        """Layers that were analysed."""
        return list(self.views)

    def __getitem__(self, key: str | Key) -> Any:
        name, layer = (key, None) if isinstance(key, str) else key
        known = [*self.results, *self.skipped, *self.failures]
        layers = [at for analyzer, at in known if analyzer == name]
        if not layers:
            raise UnknownNameError(
                f"The analyzer {name!r} was not run. {suggest(name, {a for a, _ in known})}"
            )
        if layer is None:
            if len(layers) > 1:
                raise AmbiguousNameError(
                    f"{name!r} was run on {len(layers)} layers; name one: "
                    + ", ".join(f"report[{name!r}, {at!r}]" for at in layers)
                )
            layer = layers[0]
        if layer not in layers:
            raise UnknownNameError(
                f"{name!r} was not run on a layer {layer!r}. {suggest(layer, layers)}"
            )
        found = (name, layer)
        if found in self.skipped:
            raise DynprobeError(f"{name!r} was skipped on {layer!r}: {self.skipped[found]}.")
        if found in self.failures:
            failure = self.failures[found]
            raise DynprobeError(
                f"{name!r} failed on {layer!r}: {failure}. The whole traceback is "
                f"report.failures[{name!r}, {layer!r}].traceback."
            ) from failure.error
        return self.results[found]

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            return any(name == key for name, _ in self.results)
        return key in self.results

    def get(self, name: str, layer: str) -> Any:
        """The result, or None where there is none."""
        return self.results.get((name, layer))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists and numbers, ready for JSON."""
        out: dict[str, Any] = {"seed": self.seed, "details": dict(self.details), "layers": {}}
        for layer in self.layers:
            out["layers"][layer] = {
                "results": {n: _plain(r) for (n, at), r in self.results.items() if at == layer},
                "skipped": {n: why for (n, at), why in self.skipped.items() if at == layer},
                "failures": {n: str(f) for (n, at), f in self.failures.items() if at == layer},
            }
        return out

    def to_pandas(self) -> Any:
        """A pandas DataFrame with one row a number: ``analyzer, layer, measure, value``.

        Measures are called as the fields of the results, ``geometry.pair_angles[0]``; tensors of
        more than 64 entries stay in ``report.results``. A wide table is a pivot away.

        Raises
        ------
        MissingPackageError
            If pandas is not installed.
        """
        from dynprobe.frames.report import results_frame

        return results_frame(self.results)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the report.

        Parameters
        ----------
        path : path
            ``.html`` for one self-contained page, ``.json`` for the numbers, a folder (no suffix)
            for one PNG per figure.

        Returns
        -------
        Path
            What was written.
        """
        target = Path(path)
        if target.suffix in (".html", ".htm"):
            from dynprobe.report.html import render_html

            target.write_text(render_html(self), encoding="utf-8")
        elif target.suffix == ".json":
            target.write_text(json.dumps(self.to_dict()), encoding="utf-8")
        elif not target.suffix:
            from dynprobe.report.figures import save_pngs

            save_pngs(self, target)
        else:
            raise ValueError(
                f"A report is saved as .html, .json, or into a folder of PNG files; {target.name} "
                f"has the suffix {target.suffix!r}."
            )
        return target

    def __rich__(self) -> Any:
        from dynprobe.report.terminal import render_terminal

        return render_terminal(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from dynprobe.report.notebook import render_notebook

        return render_notebook(self)

    def __str__(self) -> str:
        from dynprobe.report.terminal import as_text

        return as_text(self)


def _plain(result: Any) -> Any:
    """A result as plain lists and numbers; one that fails at it costs only itself."""
    try:
        return plain(result)
    except Exception as error:  # to_dict() may be a plugin's own
        return {"not shown": f"{type(error).__name__}: {error}"}
