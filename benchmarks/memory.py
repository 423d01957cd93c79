"""What a recording takes of a full-size model: 2,048 tokens of a Mamba of 130m size, 24 layers.

    python benchmarks/memory.py

Random weights and a small vocabulary; batch 1, float32. Each way runs in a process of its own:
`peak` is the most memory that the process ever held, less that of a plain forward pass.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

import torch
from machine import save

import dynprobe
from dynprobe.errors import BudgetError
from dynprobe.store import budget_bytes

TOKENS = 2048
#: What to keep of the states, and the bytes that this may take.
WAYS: dict[str, tuple[str | dynprobe.Store, str]] = {
    "factors": ("factors", "700 MB"),
    "every 16th token": (dynprobe.Store(every=16), "400 MB"),
    "every state, budget of factors": ("states", "700 MB"),
    "every state, budget below one layer": ("states", "20 MB"),
}


def peak() -> int:
    """Bytes, the most that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run(way: str | None) -> dict[str, Any]:
    """One forward pass in this process, recorded in one of the ways or not at all."""
    import transformers

    transformers.logging.set_verbosity_error()  # the fast kernels are not installed: so be it
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=64, hidden_size=768, num_hidden_layers=24, state_size=16
    )
    model = transformers.MambaModel(config).eval()
    ids = torch.randint(64, (1, TOKENS))
    if way is None:
        with torch.no_grad():
            model(ids, use_cache=False)
        return {"peak": peak()}
    store, given = WAYS[way]
    probe = dynprobe.attach(model, store=store, budget=given)
    recordings, error, after_forward = [], "", None
    try:
        with torch.no_grad():
            model(ids, use_cache=False)
        after_forward = peak()
        recordings = [probe.recording(info.key) for info in probe.layers]
        if store == "states":  # formed where they are asked for
            for recording in recordings:
                _ = recording.states
    except BudgetError as raised:
        error = str(raised)
    at_end = peak()
    return {
        "peak": at_end,
        "peak after forward": at_end if after_forward is None else after_forward,
        "bytes kept": sum(recording.nbytes for recording in recordings),
        "bytes counted": probe._tracer.budget.used,
        "budget": budget_bytes(given),
        "all states": 4 * TOKENS * sum(probe.recurrence(i.key).state_dim for i in probe.layers),
        "error": error,
    }


def _apart(way: str | None) -> dict[str, Any]:
    command = [sys.executable, __file__, "--way", way or ""]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, Any] = json.loads(out.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way is not None:
        print(json.dumps(run(options.way or None)))
        return
    torch.set_num_threads(1)
    plain = _apart(None)
    figures: dict[str, Any] = {"plain forward": plain}
    print(f"plain forward: {plain['peak'] / 1e6:.0f} MB")
    for way in WAYS:
        figures[way] = found = _apart(way)
        for name in ("peak", "peak after forward"):
            found[f"{name} above plain"] = found[name] - plain["peak"]
        print(way)
        for name, value in found.items():
            text = f"{value / 1e6:.1f} MB" if isinstance(value, int) else value
            print(f"  {name}: {text}")
    save("memory", figures)


if __name__ == "__main__":
    main()
