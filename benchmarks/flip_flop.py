"""Networks trained on the 3-bit flip-flop: the field's test bed for fixed points.

Three channels of rare pulses; each output remembers the sign of the last pulse of its channel
(Sussillo & Barak 2013, section 4.2). Trained from fixed seeds, kept in a folder between runs.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

BITS = 3
#: kind of network, units, training steps, noise on the seeds of the search
NETWORKS = {
    "tanh 16": ("tanh", 16, 2000),
    "tanh 128": ("tanh", 128, 1500),
    "GRU 128": ("gru", 128, 1500),
}


def flip_flop(trials: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pulses and what is to be remembered, both (trials, steps, 3)."""
    shape = (trials, steps, BITS)
    pulse = (torch.rand(shape, generator=generator) < 0.2) * (
        2.0 * (torch.rand(shape, generator=generator) < 0.5) - 1.0
    )
    pulse[:, 0] = 2.0 * (torch.rand(trials, BITS, generator=generator) < 0.5) - 1.0
    held = torch.zeros(trials, BITS)
    target = []
    for x in pulse.unbind(1):
        held = torch.where(x != 0, x, held)
        target.append(held)
    return pulse, torch.stack(target, 1)


def train(name: str, seed: int = 0) -> tuple[nn.RNNBase, float]:
    """A trained recurrent layer, and its share of outputs with the right sign."""
    kind, units, updates = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = (
            nn.GRU(BITS, units, batch_first=True)
            if kind == "gru"
            else nn.RNN(BITS, units, batch_first=True)
        )
        readout = nn.Linear(units, BITS)
    generator = torch.Generator().manual_seed(seed)
    parameters = [*layer.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2 if units < 64 else 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for _ in range(updates):
        pulse, target = flip_flop(128, 64, generator)
        loss = nn.functional.mse_loss(readout(layer(pulse)[0]), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    pulse, target = flip_flop(256, 64, generator)
    with torch.no_grad():
        right = (readout(layer(pulse)[0]).sign() == target).float().mean()
    return layer.requires_grad_(False), float(right)


def trained(name: str, folder: Path) -> tuple[nn.RNNBase, float]:
    """The same, read from a file where it was trained before."""
    from safetensors.torch import load_file, save_file

    path = folder / f"{name.replace(' ', '_')}.safetensors"
    kind, units, _ = NETWORKS[name]
    if not path.exists():
        layer, right = train(name)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({**layer.state_dict(), "right": torch.tensor(right)}, path)
    weights = load_file(path)
    right = float(weights.pop("right"))
    layer = (nn.GRU if kind == "gru" else nn.RNN)(BITS, units, batch_first=True)
    layer.load_state_dict(weights)
    return layer.requires_grad_(False), right


def states(layer: nn.RNNBase, seed: int = 1) -> Tensor:
    """States of 128 trials, (trials * steps, units)."""
    pulse, _ = flip_flop(128, 64, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return layer(pulse)[0].flatten(0, 1)
