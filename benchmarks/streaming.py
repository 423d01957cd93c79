"""Streaming analyses and durable recordings: flat memory, and how near to the bare work they are.

    python benchmarks/streaming.py

Covariance: running moments of 10^7 states of width 256 that come as float32 batches, beside plain
products X^T X of the same batches; ways interleaved, medians of the rounds, in seconds of the
processor (one thread), which other programs disturb less. `exact` forms products in float64, as
analyses do; `single` in float32, summed in float64 (ManifoldDimension(single=True)). Memory in
processes of their own: the most that a process held, after 10^5 states and after 10^7.

Recording: shards with checksums, every shard on the disk before the next begins, beside the same
bytes written and fsynced as one raw file. The checksum takes another core while the disk works: on
a machine whose cores are busy it takes its time too, and the fastest round is nearest to what a
free one does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from machine import save

from dynprobe import Recording
from dynprobe.geometry.moments import Moments
from dynprobe.shards.writer import ShardWriter

WIDTH = 256
BATCH = 8192
ROUNDS = 7
#: A batch of a shard: 64 sequences of 500 steps of 256 units, 33 MB; two of them to a shard.
SEQUENCES, STEPS = 64, 500
SHARDS, EVERY = 6, 2


def batches(n: int, distinct: int = 8) -> Iterator[torch.Tensor]:
    """`n` states in batches that repeat, so that making them costs nothing."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5
    made = [torch.randn(BATCH, WIDTH, generator=generator) @ mix + 1.0 for _ in range(distinct)]
    for start in range(0, n, BATCH):
        yield made[start // BATCH % distinct][: min(BATCH, n - start)]


def moments(n: int, single: bool) -> Moments:
    found = Moments.empty(WIDTH)
    for batch in batches(n):
        found = found.merge(Moments.of(batch, single=single))
    return found


def product(n: int, dtype: torch.dtype) -> torch.Tensor:
    found = torch.zeros(WIDTH, WIDTH, dtype=dtype)
    for batch in batches(n):
        x = batch.to(dtype)
        found += x.T @ x
    return found


def peak() -> int:
    """Bytes, the most that this process held since it was started (not its parent: getrusage
    would count what that held when it made this one)."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def apart(n: int) -> dict[str, Any]:
    """Peak of a process that sees `n` states, and how long it took."""
    command = [sys.executable, __file__, "--peak", str(n)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(out)
    return found


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def covariance(n: int) -> dict[str, Any]:
    share = 2**18
    ways: dict[str, Callable[[], object]] = {
        "product, float32": lambda: product(share, torch.float32),
        "product, float64": lambda: product(share, torch.float64),
        "exact": lambda: moments(share, single=False),
        "single": lambda: moments(share, single=True),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            times[name].append(cpu_seconds(work))
    median = {name: statistics.median(found) for name, found in times.items()}
    plain = median["product, float32"]
    return {
        "states of a round": share,
        "CPU seconds of a round": median,
        "throughput / float32 product": {w: plain / median[w] for w in ("exact", "single")},
        "throughput / float64 product": {
            w: median["product, float64"] / median[w] for w in ("exact", "single")
        },
        "runs": {f"{k:.0e}": apart(k) for k in (10**5, n)},
        "error": error(),
    }


def error() -> dict[str, float]:
    """Largest error of an entry of the scatter, relative to the diagonal, against float64."""
    few = list(batches(2**17, distinct=16))
    x = torch.cat(few).double()
    centred = x - x.mean(0)
    exact = centred.T @ centred
    scale = torch.outer(exact.diagonal(), exact.diagonal()).sqrt()
    found = {
        name: reduce(Moments.merge, [Moments.of(b, single=name == "single") for b in few]).scatter
        for name in ("exact", "single")
    }
    plain = product(len(x), torch.float32).double()
    found["product, float32"] = plain - len(x) * torch.outer(x.mean(0), x.mean(0))
    return {name: float(((s - exact) / scale).abs().max()) for name, s in found.items()}


def recorded(folder: Path, parts: list[Recording]) -> None:
    writer = ShardWriter(folder, every=EVERY, resume=False)
    for _ in range(SHARDS):
        for part in parts:
            writer.put(part, ended=True)
    writer.close()


def raw(path: Path, parts: list[Recording]) -> None:
    with path.open("wb", buffering=0) as file:
        for _ in range(SHARDS):
            for part in parts:
                assert part.kept is not None
                left = part.kept.reshape(-1).view(torch.uint8).numpy().data
                while len(left):
                    left = left[file.write(left) :]
        os.fsync(file.fileno())


def recording(folder: Path) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    parts = [
        Recording.from_arrays(torch.randn(SEQUENCES, STEPS, WIDTH, generator=generator))
        for _ in range(EVERY)
    ]
    times: dict[str, list[float]] = {"shards": [], "raw": []}
    cpu: dict[str, list[float]] = {"shards": [], "raw": []}
    for number in range(2 * ROUNDS):
        for way in ("raw", "shards") if number % 2 else ("shards", "raw"):
            os.sync()  # what the other way left to the kernel is not this one's
            target = folder / way
            start, used = time.perf_counter(), time.process_time()
            recorded(target, parts) if way == "shards" else raw(target, parts)
            times[way].append(time.perf_counter() - start)
            cpu[way].append(time.process_time() - used)
            shutil.rmtree(target) if way == "shards" else target.unlink()
    total = SHARDS * EVERY * SEQUENCES * STEPS * WIDTH * 4
    ratios = [r / s for r, s in zip(times["raw"], times["shards"], strict=True)]
    median = {name: statistics.median(found) for name, found in times.items()}
    return {
        "bytes": total,
        "seconds": median,
        "CPU seconds": {name: statistics.median(found) for name, found in cpu.items()},
        "seconds of the fastest round": {name: min(found) for name, found in times.items()},
        "GB a second": {name: total / 1e9 / s for name, s in median.items()},
        "throughput beside one raw file": median["raw"] / median["shards"],
        "median of the ratios, round by round": statistics.median(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="Where to write; the temporary folder.")
    parser.add_argument("--states", type=int, default=10**7)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak is not None:
        used = cpu_seconds(lambda: moments(options.peak, single=False))
        print(json.dumps({"states": options.peak, "CPU seconds": used, "peak bytes": peak()}))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        written = recording(Path(folder))
    figures = {"covariance": covariance(options.states), "recording": written}
    print(json.dumps(figures, indent=1))
    save("streaming", figures)


if __name__ == "__main__":
    main()
