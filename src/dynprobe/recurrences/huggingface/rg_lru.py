"""RG-LRU of Griffin (arXiv 2402.19427): h' = a(x) h + sqrt(1 - a(x)^2) i(x) x.

The layer's output is the state; its input, and the positions at which it starts anew, are what
the gates are made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dynprobe.dynamics.affine import AffineMap, DiagonalMap
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.listening import Heard, ListeningObserver, warn
from dynprobe.recurrences.observer import Call, Segment


class RgLruRecurrence(Recurrence):
    """One step of RecurrentGemmaRglru; the input is [activations, 1 where a sequence starts]."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        gate = module.recurrent_param
        assert isinstance(gate, Tensor)
        self.layout = Layout.of(h=gate.shape[0])
        self.input_dim = gate.shape[0] + 1

    def affine(self, x: Tensor) -> AffineMap:
        p = self.parameters_like(x)
        u, start = x[..., :-1], x[..., -1:]

        def gate(name: str) -> Tensor:
            weight, bias = p[f"{name}_gate_weight"], p[f"{name}_gate_bias"]
            blocks = u.unflatten(-1, bias.shape)
            return (torch.einsum("...hi,hij->...hj", blocks, weight) + bias).flatten(-2).sigmoid()

        decay = (-8.0 * gate("recurrent") * nn.functional.softplus(p["recurrent_param"])).exp()
        fresh = start != 0
        scale = torch.where(fresh, 1.0, (1 - decay**2).sqrt())
        return DiagonalMap(torch.where(fresh, 0.0, decay), u * gate("input") * scale)

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        return self.affine(x).apply(state)

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        return self.affine(x).matrix()


class RgLruObserver(ListeningObserver):
    """RecurrentGemmaRglru, which keeps the state between calls as an attribute of its own."""

    must_hear = False

    def prepare(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        state = module.recurrent_states
        return state.detach().clone() if isinstance(state, Tensor) else None

    def recurrences(self, module: nn.Module) -> dict[str, Recurrence]:
        return {"": RgLruRecurrence(module)}

    def how(self, module: nn.Module, suffix: str) -> str:
        return "the output is the state"

    def read(self, heard: Heard) -> Call:
        module = heard.module
        x = heard.args[0] if heard.args else heard.kwargs["activations"]
        position = heard.argument("position_ids")
        fresh = (position == 0).to(x.dtype)[..., None].expand(*x.shape[:2], 1)
        # what an earlier text left behind is forgotten at position 0
        goes_on = heard.prepared is not None and not bool((position[..., 0] == 0).all())
        start = heard.prepared if goes_on else heard.output.new_zeros(heard.output[:, 0].shape)
        after = module.recurrent_states
        returned = after if isinstance(after, Tensor) else heard.output[:, -1]
        if heard.output.dtype in (torch.bfloat16, torch.float16):
            warn(
                f"{type(module).__name__} keeps its state in {returned.dtype}, but shows it in "
                f"{heard.output.dtype}: the recorded states are rounded."
            )
        return Call(
            torch.cat([x, fresh], dim=-1),
            heard.output,
            (start,),
            (returned,),
            training=module.training,
        )

    def recover(self, module: nn.Module, suffix: str, call: Call) -> Segment:
        return Segment(call.outputs, call.inputs, call.passed[0])
