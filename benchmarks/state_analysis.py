"""Principal components of all states of linear attention: without forming them, and formed.

    python benchmarks/state_analysis.py

One head, D = M = 64, k and u standard normal, no decay, float32, one thread: 4,096 states of 4,096
numbers. Interleaved medians; peak memory above that of the factors alone, each in a fresh process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from machine import save
from torch import Tensor

from dynprobe.recurrences.factors import Factors
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.participation import participation_ratio
from dynprobe.recurrences.principal import principal_components
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.recurrences.state_matrix import OF, state_matrix

TOKENS, WIDTH, COMPONENTS = 4096, 64, 10


def factors(tokens: int) -> Factors:
    layout = Layout.of(S=(1, WIDTH, WIDTH), z=(1, WIDTH))
    form = RankOne(layout, 1, WIDTH, WIDTH, 1, 1, rates=0, normaliser=True)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1, tokens, form.inputs.size, generator=generator)
    keys = inputs[..., :WIDTH]
    keys.copy_(keys.clamp(max=0).exp() + keys.clamp(min=0))  # positive: elu(k) + 1
    return form.factors(inputs, torch.zeros(1, layout.size), torch.zeros(1, 1, 1))


def without_normaliser(given: Factors) -> Factors:
    """S alone, of signed keys: D M numbers a state."""
    layout = Layout.of(S=(1, WIDTH, WIDTH))
    form = RankOne(layout, 1, WIDTH, WIDTH, 1, 1, rates=0)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(1, given.time, form.inputs.size, generator=generator)
    return form.factors(inputs, torch.zeros(1, layout.size), torch.zeros(1, 1, 1))


def mask_of(given: Factors) -> Tensor:
    return torch.ones(given.k.shape[:2], dtype=torch.bool)


def centred(given: Factors) -> Tensor:
    states = given.states()[0]
    return states.sub_(states.mean(0))


def exact_svd(given: Factors) -> Tensor:
    """Variances, largest first, with all components."""
    _, singular, _ = torch.linalg.svd(centred(given), full_matrices=False)
    return singular**2 / (given.time - 1)


def exact_eigh(given: Factors) -> Tensor:
    """The same from the covariance, the cheaper of the two exact ways."""
    states = centred(given)
    values, _ = torch.linalg.eigh(states.T @ states)
    return values.flip(0) / (given.time - 1)


def formed_randomised(given: Factors, k: int) -> Tensor:
    """The very iteration of the library, on formed states."""
    return principal_components(state_matrix(given.states(), mask_of(given)), k).variance


def implicit(given: Factors, k: int, of: str = "S") -> Tensor:
    return principal_components(state_matrix(given, mask_of(given), of), k).variance


def medians(cases: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Median seconds, the cases taking turns; the first turn warms up."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(-1, turns):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            if turn >= 0:
                times[name].append(time.perf_counter() - start)
    found = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in found.items():
        print(f"{name:40} {seconds:8.3f} s")
    return found


def peak() -> int:
    """Peak resident bytes of this process; getrusage would report its parent's too."""
    with open("/proc/self/status") as status:
        return 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM")))


def grow(way: str, tokens: int) -> None:
    """Print the bytes by which one analysis raises the peak, its factors being there already."""
    torch.set_num_threads(1)
    run = {"implicit": lambda f: implicit(f, COMPONENTS), "formed": exact_eigh}[way]
    for decomposition in (torch.linalg.qr, torch.linalg.svd, torch.linalg.eigh):
        decomposition(torch.eye(8))  # what they load is no memory of the analysis
    given = without_normaliser(factors(tokens))
    before = peak()
    run(given)
    print(peak() - before)


def memory(way: str, tokens: int) -> int:
    command = [sys.executable, __file__, way, str(tokens)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = int(out.splitlines()[-1])
    print(f"peak memory of {way}, {tokens} tokens: {found / 2**20:.1f} MiB")
    return found


def main() -> None:
    torch.set_num_threads(1)
    given = factors(TOKENS)
    plain = without_normaliser(given)
    cases: dict[str, Callable[[], object]] = {
        "implicit, k 3": lambda: implicit(plain, 3),
        "implicit, k 10": lambda: implicit(plain, 10),
        "implicit, k 3, S/t": lambda: implicit(plain, 3, "S/t"),
        "implicit, k 3, S/z": lambda: implicit(given, 3, "S/z"),
        "formed, same iteration, k 3": lambda: formed_randomised(plain, 3),
        "formed, same iteration, k 10": lambda: formed_randomised(plain, 10),
        "formed, covariance and eigh": lambda: exact_eigh(plain),
        "formed, svd": lambda: exact_svd(plain),
    }
    seconds = medians(cases, 3)
    seconds |= medians(
        {
            "participation ratio, exact": lambda: participation_ratio(
                state_matrix(plain, mask_of(plain)), exact=True
            ),
            "participation ratio, estimate": lambda: participation_ratio(
                state_matrix(plain, mask_of(plain)), exact=False
            ),
        },
        5,
    )
    figures: dict[str, Any] = {"seconds": seconds, "errors": {}}
    for of in OF:
        used = given if of == "S/z" else plain
        states = state_matrix(used.states(), mask_of(used), of, form=used.form)
        (_, block), *more = states.centred_blocks()
        x = torch.cat([block, *(b for _, b in more)], dim=1)[0]
        exact = torch.linalg.eigvalsh(x.T @ x).flip(0) / (TOKENS - 1)  # float64
        found = implicit(used, COMPONENTS, of).double()
        error = float((found / exact[:COMPONENTS] - 1).abs().max())
        ratio = float(exact.sum() ** 2 / exact.square().sum())
        implied = state_matrix(used, mask_of(used), of)
        figures["errors"][of] = {
            "eigenvalues": error,
            "participation ratio, estimate": abs(
                participation_ratio(implied, exact=False) / ratio - 1
            ),
            "participation ratio": ratio,
            "first share": float(exact[0] / exact.sum()),
        }
        print(of, json.dumps(figures["errors"][of]))
    figures["peak_bytes"] = {
        "implicit": {str(t): memory("implicit", t) for t in (4096, 16384)},
        "formed": {"4096": memory("formed", 4096)},
    }
    save("state_analysis", figures)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        grow(sys.argv[1], int(sys.argv[2]))
    else:
        main()
