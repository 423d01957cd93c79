"""attach(): hooks on, states out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod, finalize

from torch import Tensor, nn

from dynprobe.capture.assemble import assemble
from dynprobe.capture.compiled import EagerCalls
from dynprobe.capture.flow import Flow
from dynprobe.capture.layer import Layer, TracedCall
from dynprobe.capture.resolve import GivenReadout, resolve_readout
from dynprobe.capture.select import (
    LayerChoice,
    find_embeddings,
    find_linears,
    named_modules,
    select_layers,
    unwrap,
)
from dynprobe.capture.tracer import Tracer
from dynprobe.errors import (
    AmbiguousNameError,
    DynprobeError,
    JointMapError,
    NothingRecordedError,
    ReadoutError,
    UnknownNameError,
    suggest,
)
from dynprobe.readout import Readout
from dynprobe.recording import Recording, RecordingMeta
from dynprobe.recording.meta import step_length
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.joint import joint_recurrence
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.observer import weights_version
from dynprobe.store import Budget, Store, budget_bytes

if TYPE_CHECKING:
    from dynprobe.analysis import Progress
    from dynprobe.analyzers.base import Analyzer
    from dynprobe.report import Report
    from dynprobe.shards.recorder import Recorder
    from dynprobe.streaming.accumulation import Accumulation


@dataclass(frozen=True)
class LayerInfo:
    """One recurrence of the probed model.

    Attributes
    ----------
    key : str
        The name to ask for it by.
    kind : str
        Class of the module.
    state : str
        Parts of the state and their widths.
    how : str
        How its states are obtained, and at what cost.
    calls : int
        Calls seen so far.
    bytes_per_token : int
        What one state takes, formed.
    store : str
        What is kept of the states.
    """

    key: str
    kind: str
    state: str
    how: str
    calls: int
    bytes_per_token: int
    store: str

    def __str__(self) -> str:
        return (
            f"{self.key}: {self.kind} {self.state}, {self.bytes_per_token:,} bytes a token; "
            f"{self.how}; keeps {self.store}; {self.calls} calls"
        )


def attach(
    model: nn.Module,
    layers: LayerChoice | None = None,
    *,
    readout: str | nn.Module | tuple[Tensor, Tensor | None] | None = None,
    tokens: str | nn.Module | None = None,
    lengths: str | None = None,
    vocabulary: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    dt: float = 1.0,
    unit: str = "steps",
    store: str | Store | None = None,
    budget: int | str | None = None,
    detach: bool = True,
) -> Probe:
    """Put a probe on a model: every recurrent layer's states are recorded from now on.

    The model is only watched: outputs, gradients, parameters, random state, training mode and
    ``state_dict`` stay what they are without a probe.

    Parameters
    ----------
    model : nn.Module
        Any module tree.
    layers : str, module, or sequence of these, optional
        Names, globs (``"encoder.*"``) or module objects; every known recurrence by default. The
        key of one recurrence (``"rnn.l0"``) or a glob over keys leaves out the module's others.
    readout : str, nn.Linear or (weight, bias), optional
        The linear readout; by default the one Linear that is fed by the state.
    tokens : str or nn.Embedding, optional
        The embedding whose ids are the tokens; by default the one that feeds the layer.
    lengths : str, optional
        The argument of the model's forward that holds lengths or a mask; by default
        ``attention_mask`` or ``lengths``. Packed sequences say it themselves.
    vocabulary, classes : sequence of str, optional
        Names of tokens by id, and of classes by label.
    dt, unit : float, str
        Length of one step, for time constants: ``dt=10, unit="ms"``.
    store : str or Store, optional
        What to keep of the states: "states" (all, the default), "factors", "final", or a
        :class:`dynprobe.Store`, such as ``Store(every=16)`` or ``Store(project=64)``.
    budget : int or str, optional
        Bytes that the probe may keep, and that forming states may take: ``"2 GiB"``; 4 GiB by
        default. Checked before memory is used.
    detach : bool
        Keep values only. With False recorded states stay in the graph of the forward pass, so
        that gradients can be taken through them.

    Returns
    -------
    Probe
        Also a context manager that detaches at the end.

    Raises
    ------
    NoRecurrenceError
        If the model has no recurrent layer that dynprobe knows.
    UnknownNameError
        If a name matches nothing; near matches are listed.
    ReadoutError
        If the readout given does not fit any layer.
    BudgetError
        From the forward pass, if what is to be kept of it exceeds the budget.
    ParameterError
        If `dt` is not a positive number.

    Examples
    --------
    >>> import torch, dynprobe
    >>> model = torch.nn.GRU(4, 8, batch_first=True)
    >>> with dynprobe.attach(model) as probe:
    ...     _ = model(torch.randn(3, 5, 4))
    >>> probe.recording().states.shape
    torch.Size([3, 5, 8])
    """
    model, compiled = unwrap(model)
    return Probe(
        model,
        select_layers(model, layers),
        readout=_find_readout(model, readout),
        tokens=_find_tokens(model, tokens),
        lengths=lengths,
        describe=partial(
            RecordingMeta,
            vocabulary=None if vocabulary is None else tuple(vocabulary),
            classes=None if classes is None else tuple(classes),
            dt=step_length(dt),
            unit=unit,
            store=Store.of(store),
        ),
        store=Store.of(store),
        budget=Budget(budget_bytes(budget)),
        detach=detach,
        compiled=compiled,
    )


class Probe:
    """Recorded calls of a model's recurrent layers; made by :func:`attach`."""

    def __init__(
        self,
        model: nn.Module,
        layers: dict[str, Layer],
        *,
        readout: GivenReadout | None,
        tokens: str | None,
        lengths: str | None,
        describe: Callable[[str, Layout], RecordingMeta],
        store: Store,
        budget: Budget,
        detach: bool,
        compiled: Sequence[nn.Module],
    ) -> None:
        self.model = model
        self._layers = layers
        self._readout = readout
        self._tokens = tokens
        self._describe = describe
        # by key: how many calls, the last of them, and what was made of them
        self._recordings: dict[str, tuple[int, TracedCall, Recording]] = {}
        self._no_readout: dict[str, str] = {}
        self._linears = find_linears(model, layers.values())
        if readout is not None and isinstance(readout[1], nn.Linear):
            self._linears[str(readout[0])] = readout[1]
        self._check_readout()
        self._tracer = Tracer(
            model,
            layers,
            find_embeddings(model),
            dict(self._linears),
            lengths,
            store=store,
            budget=budget,
            detach=detach,
        )
        self._flow = Flow(layers, WeakMethod(self._assemble), budget)
        self._tracer.tell(self._flow.drain)
        # a probe that is dropped without detach() leaves nothing behind either
        eager = EagerCalls(compiled, model)
        self._finalizer = finalize(self, _remove, self._tracer, eager)

    def _check_readout(self) -> None:
        if self._readout is None:
            return
        errors = []
        for layer in self._layers.values():
            try:
                resolve_readout(
                    layer, layer.observer.top(layer.module), self._readout, self._linears
                )
            except ReadoutError as error:
                errors.append(error)
        if len(errors) == len(self._layers):
            raise errors[0]

    # -- what is there -----------------------------------------------------------------------

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """One entry for each recurrence: its key, state, and how its states are obtained."""
        return tuple(
            LayerInfo(
                key,
                type(layer.module).__name__,
                str(layer.recurrences[suffix].layout),
                layer.observer.how(layer.module, suffix),
                len(layer.calls),
                layer.recurrences[suffix].state_dim * layer.recurrences[suffix].dtype.itemsize,
                str(self._tracer.store),
            )
            for layer in self._layers.values()
            for key, suffix in layer.keys.items()
        )

    @property
    def attached(self) -> bool:
        """Whether the hooks are on."""
        return self._finalizer.alive

    def recording(self, layer: str | None = None) -> Recording:
        """Everything recorded so far of one recurrence.

        Parameters
        ----------
        layer : str, optional
            Its key; may be left out when there is one. A bare module name stands for its top
            layer, forward direction.

        Returns
        -------
        Recording
            The same object until the next call of the layer, so annotations stay with it.

        Raises
        ------
        NothingRecordedError
            If no call has been seen; says why if that can be told.
        StaleWeightsError
            If a state must be rebuilt and the weights have changed since it was recorded.
        """
        key, found, suffix = self._find(layer)
        self._require_calls(found)
        cached = self._recordings.get(key)
        seen = (len(found.calls), found.calls[-1])
        if cached is None or cached[0] != seen[0] or cached[1] is not seen[1]:
            recording = self._assemble(found, suffix, key)
            if cached is not None:  # the recording of other calls is not needed any more
                self._tracer.budget.used -= cached[2].formed_bytes
            self._recordings[key] = (*seen, recording)
        return self._recordings[key][2]

    def _assemble(self, layer: Layer, suffix: str, key: str) -> Recording:
        """A recording of a layer's calls."""
        readout = None
        try:
            readout = self._resolve(layer, suffix)
        except ReadoutError as error:
            self._no_readout[key] = str(error)
        return assemble(
            layer,
            suffix,
            self._describe(key, layer.recurrences[suffix].layout),
            tokens_from=self._tokens,
            readout=readout,
            budget=self._tracer.budget,
        )

    def recurrence(
        self,
        layer: str | None = None,
        *,
        step: Callable[[Tensor, Tensor], Tensor] | None = None,
        state_dim: int | Layout | None = None,
        input_dim: int | None = None,
        context: Any = None,
    ) -> Recurrence:
        """The one-step map of a recurrence; follows the module's present weights.

        Parameters
        ----------
        layer : str, optional
            Its key, or "all" for the joint map of the whole model (a layer of this name goes
            first): of all layers of one nn.RNN, nn.GRU or nn.LSTM; of a transformers model, by
            one step through its cache; of anything else, by `step`.
        step, state_dim, input_dim : callable, int or Layout, int
            With "all": a joint map of your own, as for :func:`dynprobe.as_recurrence`; without
            `state_dim` its state is that of all recurrences side by side.
        context : transformers cache, optional
            With "all": what the model returned for a prefix. Its attention layers look back on
            that and on nothing else.

        Raises
        ------
        JointMapError
            If "all" has no joint map that dynprobe can build; says why.
        """
        options = {
            "step": step,
            "state_dim": state_dim,
            "input_dim": input_dim,
            "context": context,
        }
        if layer == "all" and layer not in self._layers:
            modules = {name: found.module for name, found in self._layers.items()}
            maps = {
                k: la.recurrences[s] for la in self._layers.values() for k, s in la.keys.items()
            }
            return joint_recurrence(self.model, modules, maps, **options)
        if given := [f"{name}=" for name, value in options.items() if value is not None]:
            raise JointMapError(f'{", ".join(given)} make a joint map: they go with layer "all".')
        _, found, suffix = self._find(layer)
        return found.recurrences[suffix]

    def readout(self, layer: str | None = None) -> Readout:
        """The linear readout of a recurrence's state.

        Raises
        ------
        ReadoutError
            If there is none (bidirectional, pooled or MLP readouts are not linear in the state),
            or if several are possible; the candidates are listed.
        """
        _, found, suffix = self._find(layer)
        if self._readout is None or isinstance(self._readout[1], nn.Linear):
            self._require_calls(found)
        return self._resolve(found, suffix)

    def _resolve(self, layer: Layer, suffix: str) -> Readout:
        others = [m for m in self.model.modules() if isinstance(m, nn.Linear)]
        return resolve_readout(layer, suffix, self._readout, self._linears, others)

    def _require_calls(self, layer: Layer) -> None:
        if layer.trouble is not None:
            raise DynprobeError(
                f"A call of {layer.name!r} could not be read: "
                f"{type(layer.trouble).__name__}: {layer.trouble}. The model itself ran on; "
                "probe.clear() forgets what was recorded. A module with a calling convention of "
                "its own needs an Observer of its own."
            ) from layer.trouble
        if layer.calls:
            if any(x.is_meta for x in layer.calls[-1].call.returned):
                raise NothingRecordedError(
                    f"{layer.name!r} ran on the meta device, where tensors have shapes and no "
                    "values. Bring model and data to a real one and run the model again; "
                    "probe.clear() forgets these calls."
                )
            return
        if self._tracer.forwards:
            raise NothingRecordedError(
                f"The model ran {self._tracer.forwards} forward passes, but {layer.name!r} was "
                "never called in them. Its forward was bypassed: a compiled model, a replica on "
                "another device, weights used by hand, or a branch not taken. Call the layer "
                "itself (not its .forward), or attach to the module that runs."
            )
        if self._tracer.raised is not None:
            raise NothingRecordedError(
                f"Nothing has been recorded of {layer.name!r} yet: the model's forward pass raised "
                f"{self._tracer.raised!r}, and what a pass that raised had shown is dropped. Mend "
                "that (are model and data on one device?) and run the model again."
            )
        state = "Call model(...)" if self.attached else "The probe is detached: attach again, call"
        raise NothingRecordedError(
            f"Nothing has been recorded of {layer.name!r} yet. {state} while the probe is "
            "attached (model(...), not model.forward(...)), then ask again. If you call the model "
            "through torch.compile(model), attach to that."
        )

    def _find(self, name: str | None) -> tuple[str, Layer, str]:
        """Key, layer and suffix of a recurrence by name."""
        keys = {
            key: (layer, suffix)
            for layer in self._layers.values()
            for key, suffix in layer.keys.items()
        }
        if name is None:
            if len(keys) > 1:
                raise AmbiguousNameError(
                    f"This model has {len(keys)} recurrences; name one of: {', '.join(keys)}."
                )
            name = next(iter(keys))
        if name in self._layers and name not in keys:
            layer = self._layers[name]
            suffix = layer.observer.top(layer.module)
            name = f"{name}.{suffix}"  # which may not be among those chosen
        if name not in keys:
            raise UnknownNameError(
                f"No recurrence is called {name!r}. {suggest(name, [*keys, *self._layers])}"
            )
        return name, *keys[name]

    # -- analysis ----------------------------------------------------------------------------

    def analyze(
        self,
        analyzers: Sequence[str | Analyzer | type[Analyzer]] | str | None = None,
        *,
        layers: str | Sequence[str] | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Report:
        """Run analyzers on what has been recorded.

        Parameters
        ----------
        analyzers : sequence of names, classes or instances, optional
            The built-in ones by default; an installed plugin runs only when it is named.
        layers : str or sequence of str, optional
            Keys of recurrences; all by default.
        seed : int
            Seed of everything random in the analysis.
        progress : callable, optional
            ``progress(analyzer, layer, done, total)``.

        Returns
        -------
        Report
            Results by analyzer and layer; printable, and ``save("report.html")``.

        Raises
        ------
        NothingRecordedError
            Before any forward pass.
        NonFiniteStatesError
            If recorded states hold NaN or Inf.
        UnknownNameError
            For an unknown analyzer or layer.
        """
        from dynprobe.analysis import Subject, analyze_subjects

        unused: list[str] = []
        if layers is not None:
            names = [layers] if isinstance(layers, str) else list(layers)
        else:
            # a layer that was never called does not take the others down
            used = [layer for layer in self._layers.values() if layer.calls or layer.trouble]
            used = used or list(self._layers.values())
            names = [key for layer in used for key in layer.keys]
            unused = [key for la in self._layers.values() if la not in used for key in la.keys]
        subjects = []
        for name in names:
            recording = self.recording(name)
            readout: Readout | str
            try:
                readout = self.readout(name)
            except ReadoutError as error:
                readout = str(error)
            subjects.append(Subject(recording, self.recurrence(name), readout))
            self._warn_if_stale(name)
        report = analyze_subjects(subjects, analyzers, seed=seed, progress=progress)
        report.unused += unused
        return report

    def accumulate(
        self,
        *analyzers: str | Analyzer | type[Analyzer],
        layers: str | Sequence[str] | None = None,
    ) -> Accumulation:
        """Run analyzers while the model runs, and keep no states.

        From now on each finished batch of sequences is fed to the analyzers and dropped: memory
        does not grow with the number of tokens. A batch is finished when the next call does not
        continue it, or the accumulation ends. What was recorded before stays as it is.

        Parameters
        ----------
        analyzers : names, classes or instances
            :class:`dynprobe.StreamingAnalyzer`; the built-in ones by default. The same work in
            one shot, in :meth:`analyze`.
        layers : str or sequence of str, optional
            Keys of recurrences; all by default. The others are not recorded meanwhile.

        Returns
        -------
        Accumulation
            A context manager that ends it; its ``report()`` gives the results, at any time.

        Raises
        ------
        PluginError
            If an analyzer needs all states at once.
        UnknownNameError
            For an unknown analyzer or layer.

        Examples
        --------
        >>> import torch, dynprobe
        >>> model = torch.nn.GRU(4, 8, batch_first=True)
        >>> with dynprobe.attach(model) as probe, probe.accumulate() as running:
        ...     for seed in range(100):
        ...         _ = model(torch.randn(16, 50, 4))
        >>> running.report()["manifold_dimension"].visited.count
        80000
        """
        from dynprobe.streaming.accumulation import Accumulation, Source

        source = Source(
            recurrence=self.recurrence,
            version=lambda key: weights_version(self._find(key)[1].module),
            readout=self._readout_of,
            unfinished=self._flow.unfinished,
            leave=self._flow.leave,
        )
        accumulation = Accumulation(analyzers, self._keys(layers), source)
        self._flow.join(accumulation)
        return accumulation

    def record_to(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int = 1,
        layers: str | Sequence[str] | None = None,
        resume: bool = False,
    ) -> Recorder:
        """Write what the model does to a folder while it runs, and keep no states in memory.

        When a forward pass returns, its states are on the disk: a process that is killed loses the
        batch in flight and nothing else. A sequence that is continued over calls is on the disk
        as far as its first call goes, and whole when it has ended. What was recorded before stays
        in the probe as it is.

        Parameters
        ----------
        folder : path
            Gets a folder for each recurrence, with shards and a manifest.
            :func:`dynprobe.load` reads it.
        every : int
            Batches of one shard. More make fewer and larger files; those that have not made a
            shard yet are in memory, and lost with the process.
        layers : str or sequence of str, optional
            Keys of recurrences; all by default. The others are not recorded meanwhile.
        resume : bool
            Append to a folder that is there.

        Returns
        -------
        Recorder
            A context manager that writes what is left and ends it.

        Raises
        ------
        FileFormatError
            If the folder is there and `resume` was not given, or it holds something else.
        WriteError
            From a forward pass, if the disk is full. Everything before it is kept.

        Examples
        --------
        >>> import tempfile, torch, dynprobe
        >>> model = torch.nn.GRU(4, 8, batch_first=True)
        >>> folder = tempfile.mkdtemp()
        >>> with dynprobe.attach(model) as probe, probe.record_to(f"{folder}/run"):
        ...     for seed in range(3):
        ...         _ = model(torch.randn(16, 50, 4))
        >>> len(dynprobe.load(f"{folder}/run"))
        48
        """
        from dynprobe.shards.recorder import Recorder

        keys, leave = self._keys(layers), self._flow.leave
        recorder = Recorder(Path(folder), keys, every=every, resume=resume, leave=leave)
        self._flow.join(recorder)
        return recorder

    def _keys(self, layers: str | Sequence[str] | None) -> list[str]:
        """Keys of the recurrences that names stand for; all of them for None."""
        if layers is None:
            return [key for layer in self._layers.values() for key in layer.keys]
        return [self._find(n)[0] for n in ([layers] if isinstance(layers, str) else layers)]

    def _readout_of(self, key: str, recording: Recording) -> Readout | str:
        """The readout that was found with a recording, or why there is none."""
        unknown = "it was not looked for"
        return recording.readout or self._no_readout.get(key, unknown)

    def _warn_if_stale(self, name: str) -> None:
        _, layer, _ = self._find(name)
        if layer.calls[-1].call.version != weights_version(layer.module):
            warnings.warn(
                f"The weights of {layer.name!r} have changed since its states were recorded: "
                "these are the old states, but the map and the readout are those of now. Record "
                "again for a consistent picture.",
                stacklevel=3,
            )

    # -- life cycle --------------------------------------------------------------------------

    @contextmanager
    def sequence(self) -> Iterator[None]:
        """All calls of a layer inside belong to one batch of sequences.

        For loops whose state dynprobe cannot follow: by default a call continues the previous one
        only if it is given the state that one returned.
        """
        end = self._tracer.force_sequence()
        try:
            yield
        finally:
            end()

    def materialize(self) -> None:
        """Recover now what would be rebuilt on request, while the weights are what they were."""
        for layer in self._layers.values():
            layer.materialize()

    def clear(self) -> None:
        """Forget everything recorded; the hooks stay on.

        What is written to a folder or accumulated has it all the same, also the last batch.
        """
        try:
            self._flow.forget()
        finally:
            for layer in self._layers.values():
                layer.calls.clear()
                layer.trouble = None
            self._tracer.reset()
            self._tracer.budget.used = 0
            self._recordings.clear()

    def detach(self) -> None:
        """Take the hooks off; what was recorded stays. Calling it again does nothing."""
        if self._finalizer.alive:
            self._finalizer()
            self.materialize()

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: Any) -> None:
        self.detach()

    def __repr__(self) -> str:
        lines = "\n".join(f"  {info}" for info in self.layers)
        state = "attached" if self.attached else "detached"
        return f"Probe({state} to {type(self.model).__name__}):\n{lines}"


def _remove(tracer: Tracer, eager: EagerCalls) -> None:
    tracer.remove()
    eager.remove()


def _find_readout(
    model: nn.Module, given: str | nn.Module | tuple[Tensor, Tensor | None] | None
) -> GivenReadout | None:
    if given is None:
        return None
    if isinstance(given, tuple):
        weight, bias = given
        return weight.detach().clone(), None if bias is None else bias.detach().clone()
    modules = dict(named_modules(model))
    linears = {name: m for name, m in modules.items() if isinstance(m, nn.Linear)}
    if isinstance(given, str):
        if given not in modules:
            raise UnknownNameError(
                f"The model has no module {given!r} to read out from. {suggest(given, linears)}"
            )
        name, module = given, modules[given]
    else:
        name = next((n for n, m in modules.items() if m is given), "readout")
        module = given
    if not isinstance(module, nn.Linear):
        raise ReadoutError(
            f"The readout {name!r} is a {type(module).__name__}; a linear readout is an nn.Linear, "
            "or (weight, bias)."
        )
    return name, module


def _find_tokens(model: nn.Module, given: str | nn.Module | None) -> str | None:
    if given is None:
        return None
    embeddings = find_embeddings(model)
    for name, module in embeddings.items():
        if name == given or module is given:
            return name
    raise UnknownNameError(
        f"The model has no nn.Embedding {given!r} to take tokens from. "
        f"{suggest(str(given), embeddings)}"
    )
