"""nn.RNN, nn.GRU and nn.LSTM: every layer, both directions, h and c at every step.

A hook sees the top layer's h at all steps and the final h and c. The rest is rebuilt from what it
saw: a single-layer module that shares the parameters reproduces each lower layer bit for bit, and
from known h all gates are one matrix product, which leaves an elementwise recursion for c.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from dynprobe.errors import DynprobeError
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.gated import (
    GatedRecurrence,
    GRURecurrence,
    LSTMRecurrence,
    RNNRecurrence,
)
from dynprobe.recurrences.observer import (
    Call,
    Observer,
    Segment,
    check_rebuilt,
    check_weights,
    zeros_state,
)
from dynprobe.recurrences.scan import linear_scan

_MAPS: dict[type[nn.RNNBase], type[GatedRecurrence]] = {
    nn.RNN: RNNRecurrence,
    nn.GRU: GRURecurrence,
    nn.LSTM: LSTMRecurrence,
}


class TorchLayerObserver(Observer):
    """Observer of nn.RNN, nn.GRU and nn.LSTM."""

    def recurrences(self, module: nn.Module) -> dict[str, Recurrence]:
        rnn = cast(nn.RNNBase, module)
        kind = next(k for c, k in _MAPS.items() if isinstance(rnn, c))
        found: dict[str, Recurrence] = {}
        for layer in range(rnn.num_layers):
            # the reverse direction first, so that the top layer, forward, comes last
            if rnn.bidirectional:
                found[f"l{layer}.reverse"] = kind(rnn, f"_l{layer}_reverse")
            found[f"l{layer}"] = kind(rnn, f"_l{layer}")
        return {"": found["l0"]} if len(found) == 1 else found

    def directions(self, module: nn.Module) -> int:
        return 2 if cast(nn.RNNBase, module).bidirectional else 1

    def how(self, module: nn.Module, suffix: str) -> str:
        rnn = cast(nn.RNNBase, module)
        layer, _ = _parse(suffix)
        if layer < rnn.num_layers - 1:
            return "rebuilt on request: its layer is run once more, one forward of that layer"
        if isinstance(rnn, nn.LSTM):
            return (
                "h is the output; c rebuilt on request: three of four gate products once more, "
                "and a scan"
            )
        return "the output is the state"

    def lazy(self, module: nn.Module, suffix: str) -> bool:
        rnn = cast(nn.RNNBase, module)
        # even where the output is the state, a layer's inputs are the output of the one below
        return rnn.num_layers > 1 or isinstance(rnn, nn.LSTM)

    def observe(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Call:
        rnn = cast(nn.RNNBase, module)
        x = args[0] if args else kwargs["input"]
        hx = args[1] if len(args) > 1 else kwargs.get("hx")
        out, hn = output
        passed = () if hx is None else _as_tuple(hx)
        returned = _as_tuple(hn)
        lengths = None
        if isinstance(x, PackedSequence):
            x, lengths = pad_packed_sequence(x, batch_first=True)
            out, _ = pad_packed_sequence(out, batch_first=True)
        elif x.dim() == 2:  # unbatched: (time, input)
            x, out = x.unsqueeze(0), out.unsqueeze(0)
            passed = tuple(s.unsqueeze(1) for s in passed)
            returned = tuple(s.unsqueeze(1) for s in returned)
        elif not rnn.batch_first:
            x, out = x.transpose(0, 1), out.transpose(0, 1)
        return Call(x, out, passed, returned, lengths, training=rnn.training)

    def recover(self, module: nn.Module, suffix: str, call: Call) -> Segment:
        rnn = cast(nn.RNNBase, module)
        layer, reverse = _parse(suffix)
        top = rnn.num_layers - 1
        dropped = layer > 0 and rnn.dropout > 0 and call.training
        if dropped and (layer < top or isinstance(rnn, nn.LSTM)):
            raise DynprobeError(
                f"Layer {layer} of this {type(rnn).__name__} cannot be rebuilt: dropout "
                f"{rnn.dropout} between the layers was active (training mode), and its random "
                "masks are gone. Record in eval mode, or look at layer l0."
            )
        inputs = None if dropped else self._layer_input(rnn, layer, call)
        if layer == top:
            h = call.outputs
        else:
            assert inputs is not None
            h = self._run_layer(rnn, layer, inputs, call)
        if rnn.bidirectional:
            h = h.chunk(2, dim=-1)[1 if reverse else 0]
        index = layer * self.directions(rnn) + (1 if reverse else 0)
        start = [s[index] for s in call.passed]
        if not isinstance(rnn, nn.LSTM):
            return Segment(h, inputs, start[0] if start else zeros_state(call, h.shape[-1]))
        recurrence = LSTMRecurrence(rnn, f"_l{layer}_reverse" if reverse else f"_l{layer}")
        h0, c0 = start or (
            zeros_state(call, recurrence.layout.size - recurrence.hidden_size),
            zeros_state(call, recurrence.hidden_size),
        )
        check_weights(rnn, call, "The cell state of an LSTM")
        assert inputs is not None
        # under autocast the call ran in half precision; its weights say what the states are
        dtype = next(rnn.parameters()).dtype
        h, inputs, h0, c0 = (v.to(dtype) for v in (h, inputs, h0, c0))
        with torch.set_grad_enabled(call.in_graph), torch.autocast(h.device.type, enabled=False):
            c = _cell_states(recurrence, h, inputs, h0, c0, call.lengths, reverse=reverse)
        final = _final(c, call.lengths, reverse=reverse)
        what = "The cell state of an LSTM"
        check_rebuilt(final, call.returned[1][index], what, coarse=call.autocast)
        return Segment(torch.cat([h, c], -1), inputs, torch.cat([h0, c0], -1))

    def _layer_input(self, rnn: nn.RNNBase, layer: int, call: Call) -> Tensor:
        x = call.inputs
        for below in range(layer):
            x = self._run_layer(rnn, below, x, call)
        return x

    def _run_layer(self, rnn: nn.RNNBase, layer: int, x: Tensor, call: Call) -> Tensor:
        """Output of one layer, (batch, time, directions * width), bit for bit the module's own."""
        if layer not in call.rebuilt:
            out = self._rerun(rnn, layer, x, call)
            d = self.directions(rnn)
            for i, h in enumerate(out.chunk(d, dim=-1)):
                final = _final(h, call.lengths, reverse=i == 1)
                what = f"Layer {layer} of this {type(rnn).__name__}"
                check_rebuilt(final, call.returned[0][layer * d + i], what, coarse=call.autocast)
            call.rebuilt[layer] = out
        return call.rebuilt[layer]

    def _rerun(self, rnn: nn.RNNBase, layer: int, x: Tensor, call: Call) -> Tensor:
        check_weights(rnn, call, f"Layer {layer} of this {type(rnn).__name__}")
        single = _single_layer(rnn, layer, x.shape[-1])
        d = self.directions(rnn)
        x = x.to(next(rnn.parameters()).dtype)
        hx = tuple(s[layer * d : (layer + 1) * d].to(x) for s in call.passed) or None
        state = hx if hx is None or len(hx) > 1 else hx[0]
        with (
            torch.set_grad_enabled(call.in_graph),
            torch.autocast(x.device.type, enabled=False),
            warnings.catch_warnings(),
        ):
            # cuDNN would have the weights of one layer side by side; they are the module's own
            warnings.filterwarnings("ignore", "RNN module weights are not part of single")
            if call.lengths is None:
                # in the module's own orientation: kernels round differently in the other one
                given = x if rnn.batch_first else x.transpose(0, 1).contiguous()
                out: Tensor = single(given, state)[0]
                return out if rnn.batch_first else out.transpose(0, 1)
            packed = pack_padded_sequence(x, call.lengths, batch_first=True, enforce_sorted=False)
            return pad_packed_sequence(single(packed, state)[0], batch_first=True)[0]


def _final(x: Tensor, lengths: Tensor | None, *, reverse: bool) -> Tensor:
    """(batch, time, ...) -> (batch, ...), the state after the last step that was processed."""
    if reverse:
        return x[:, 0]
    if lengths is None:
        return x[:, -1]
    return x[torch.arange(x.shape[0], device=x.device), lengths.to(x.device) - 1]


def _parse(suffix: str) -> tuple[int, bool]:
    """("l1.reverse") -> (1, True); the empty suffix is layer 0."""
    head, _, tail = suffix.partition(".")
    return (int(head[1:]) if head else 0), tail == "reverse"


def _as_tuple(state: Any) -> tuple[Tensor, ...]:
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)


def _single_layer(rnn: nn.RNNBase, layer: int, input_size: int) -> nn.RNNBase:
    """A one-layer module that shares the parameters of `layer`.

    Built on the meta device: no memory, and no random numbers drawn for an initialisation.
    """
    options: dict[str, Any] = {
        "bias": rnn.bias,
        "batch_first": rnn.batch_first,
        "bidirectional": rnn.bidirectional,
        "device": "meta",
        "dtype": next(rnn.parameters()).dtype,
    }
    if isinstance(rnn, nn.LSTM):
        options["proj_size"] = rnn.proj_size
    if isinstance(rnn, nn.RNN):
        options["nonlinearity"] = rnn.nonlinearity
    kind = next(c for c in _MAPS if isinstance(rnn, c))
    build: Any = kind
    single: nn.RNNBase = build(input_size, rnn.hidden_size, **options)
    single.train(False)
    for name, _ in list(single.named_parameters()):
        shared = getattr(rnn, name.replace("_l0", f"_l{layer}"))
        if not isinstance(shared, nn.Parameter):  # a parametrized layer computes its weights
            del single._parameters[name]
        setattr(single, name, shared)
    return single


def _cell_states(
    lstm: LSTMRecurrence,
    h: Tensor,
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    lengths: Tensor | None,
    *,
    reverse: bool,
) -> Tensor:
    """c at every step, (batch, time, hidden), from the known h.

    The gates depend on h and x only, both known at all steps: one product gives them all, and
    c_t = f_t c_{t-1} + i_t g_t is elementwise. (Inverting h = o tanh(c) instead would lose c
    wherever tanh saturates.)
    """
    if reverse:
        h, x = flip_valid(h, lengths), flip_valid(x, lengths)
    before = torch.cat([h0.unsqueeze(1), h[:, :-1]], dim=1)
    w = lstm.weights(h, detach=not torch.is_grad_enabled())
    n = 3 * lstm.hidden_size  # c does not need the output gate
    gates = torch.matmul(x, w.ih[:n].T).add_(w.b_ih[:n] + w.b_hh[:n])
    gates += before @ w.hh[:n].T
    i, f, g = gates.chunk(3, dim=-1)
    if gates.requires_grad:  # autograd keeps what it differentiates
        out = linear_scan(f.sigmoid(), i.sigmoid() * g.tanh(), c0)
    else:
        out = linear_scan(f.sigmoid_(), i.sigmoid_().mul_(g.tanh_()), c0)
    return flip_valid(out, lengths) if reverse else out


def flip_valid(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse (batch, time, ...) along time within each sequence's length; padding stays."""
    if lengths is None:
        return x.flip(1)
    time = torch.arange(x.shape[1], device=x.device)
    length = lengths.to(x.device)[:, None]
    order = torch.where(time < length, length - 1 - time, time)
    return x.gather(1, order.reshape(*order.shape, *[1] * (x.dim() - 2)).expand_as(x))
