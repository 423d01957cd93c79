"""Targets beside what was measured, from benchmarks/results.

python benchmarks/check.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from machine import RESULTS
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Target:
    """One figure: where it stands, what it has to be, and how it reads."""

    result: str
    figure: str
    wanted: str
    value: Callable[[Any], float]
    met: Callable[[float], bool]


LARGE = "batch 64, T 200, hidden 256, 2 layers"
SMALL = "batch 1, T 1000, hidden 32, 2 layers"


MAMBA = "Mamba, 4 layers"


def share(way: str, figure: str) -> Callable[[Any], float]:
    return lambda figures: figures[way][figure] / figures[way]["budget"]


def refused(found: Any) -> float:
    """What something that had to raise took of its budget before it did; infinite if it ran on."""
    return found["peak above plain"] / found["budget"] if found["error"] else float("inf")


def over_seeds(key: str, pick: Callable[[list[float]], float]) -> Callable[[Any], float]:
    return lambda figures: pick([row[key] for row in figures["seeds"]])


def of_cell(cell: str, key: str) -> Callable[[Any], float]:
    """Mean over the networks of one kind, by orthogonal projection."""

    def mean(figures: Any) -> float:
        rows = [r for r in figures["seeds"] if (r["cell"], r["projection"]) == (cell, "orthogonal")]
        return float(sum(r[key] for r in rows) / len(rows))

    return mean


def both(figures: Any, steps: int, case: str) -> float:
    """Forward and backward of `case` over that of ours."""
    rows = figures[str(steps)]
    return float(rows[case]["both_ms"] / rows["torch"]["both_ms"])


def worst_pair(figure: str) -> Callable[[Any], float]:
    """Of ours, over the conjugate pairs."""
    return lambda figures: max(row["dynprobe"][figure] for row in figures["pairs"].values())


TARGETS = [
    Target("report", "page of 100,000 states: interactive, s, median", "<= 2",
           lambda f: f["100000 states"]["interactive"]["median"], lambda v: v <= 2),
    Target("import_time", "import dynprobe, s beyond torch", "<= 0.15",
           lambda f: f["import dynprobe"], lambda v: v <= 0.15),
    Target("import_time", "... and use attach", "<= 0.15",
           lambda f: f["import dynprobe and use attach"], lambda v: v <= 0.15),
    Target("demo", "accuracy, worst seed", ">= 0.97", over_seeds("accuracy", min),
           lambda v: v >= 0.97),
    Target("demo", "participation ratio, smallest", ">= 1.9",
           over_seeds("participation_ratio", min), lambda v: v >= 1.9),
    Target("demo", "participation ratio, largest", "<= 2.3",
           over_seeds("participation_ratio", max), lambda v: v <= 2.3),
    Target("demo", "components for 95 %, largest", "= 2", over_seeds("components_95", max),
           lambda v: v == 2),
    Target("demo", "readout angle, smallest", ">= 117", over_seeds("angle_min", min),
           lambda v: v >= 117),
    Target("demo", "readout angle, largest", "<= 123", over_seeds("angle_max", max),
           lambda v: v <= 123),
    Target("demo", "neutral / evidence push in the plane", "< 0.1",
           over_seeds("neutral_share_in_plane", max), lambda v: v < 0.1),
    Target("demo", "seconds, slowest", "<= 180", over_seeds("seconds", max), lambda v: v <= 180),
    *(
        target
        for net, times in (("tanh 16", 15), ("tanh 128", 5), ("GRU 128", 30))
        for target in (
            Target("fixed_points", f"{net}: fixed-point-finder / ours, time", f">= {times}",
                   lambda f, net=net: f[net].get("times faster", 0.0),
                   lambda v, times=times: v >= times),
            Target("fixed_points", "... points of the reference set that are missing", "= 0",
                   lambda f, net=net: f[net]["reference"] - f[net]["found"], lambda v: v == 0),
            Target("fixed_points", "... false points", "= 0",
                   lambda f, net=net: f[net]["false"], lambda v: v == 0),
            Target("fixed_points", "... index sum", "= 1",
                   lambda f, net=net: f[net]["index sum"] or 0, lambda v: v == 1),
            Target("fixed_points", "... largest speed", "<= 1e-18",
                   lambda f, net=net: f[net]["largest speed"], lambda v: v <= 1e-18),
        )
    ),
    Target("fixed_points", "ring: fixed-point-finder / ours, time", ">= 4",
           lambda f: f["ring"].get("times faster", 0.0), lambda v: v >= 4),
    Target("fixed_points", "... seeds FIXED on the continuum, of 1,024", "= 1024",
           lambda f: f["ring"]["fixed"] - f["ring"]["isolated"], lambda v: v == 1024),
    Target("fixed_points", "... largest speed", "<= 1e-12",
           lambda f: f["ring"]["largest speed of the fixed"], lambda v: v <= 1e-12),
    Target("fixed_points", "... median slide, rad", "<= 1e-3",
           lambda f: f["ring"]["median slide, rad"], lambda v: v <= 1e-3),
    Target("fixed_points", "noisy ring: distinct fixed points not isolated", "= 0",
           lambda f: f["noisy ring"]["unique"] - f["noisy ring"]["unique isolated"],
           lambda v: v == 0),
    Target("fixed_points", "2,000 units, 5 planted points: found", "= 5",
           lambda f: f["planted 2000"]["found"], lambda v: v == 5),
    Target("fixed_points", "... seconds", "<= 60",
           lambda f: f["planted 2000"]["seconds"], lambda v: v <= 60),
    Target("fixed_points", "... peak memory, GiB", "<= 2",
           lambda f: f["planted 2000"]["peak GiB"], lambda v: v <= 2),
    Target("jacobians", "RNN, 256 states x 128 units, float64, s", "<= 0.05",
           lambda f: f["RNN"]["jacobian"], lambda v: v <= 0.05),
    Target("jacobians", "GRU, the same, s", "<= 0.15",
           lambda f: f["GRU"]["jacobian"], lambda v: v <= 0.15),
    Target("jacobians", "LSTM, the same, s", "<= 0.3",
           lambda f: f["LSTM"]["jacobian"], lambda v: v <= 0.3),
    *(
        target
        for cell in ("gru", "lstm")
        for target in (
            Target("slow_modes", f"{cell}: accuracy with its slow modes alone, mean", ">= 0.9",
                   of_cell(cell, "keep"), lambda v: v >= 0.9),
            Target("slow_modes", "... spread of the logits without them, mean", "<= 0.1",
                   of_cell(cell, "spread left"), lambda v: v <= 0.1),
        )
    ),
    Target("capture", f"attached, x plain forward ({LARGE})", "<= 1.05",
           lambda f: f[LARGE]["attached"]["ratio"], lambda v: v <= 1.05),
    Target("capture", f"all h and c, x plain forward ({LARGE})", "<= 2.5",
           lambda f: f[LARGE]["everything"]["ratio"], lambda v: v <= 2.5),
    Target("capture", f"all h and c, x plain forward ({SMALL})", "<= 5",
           lambda f: f[SMALL]["everything"]["ratio"], lambda v: v <= 5),
    Target("capture", "HF Mamba, attached, x plain forward", "<= 1.05",
           lambda f: f[MAMBA]["attached"]["ratio"], lambda v: v <= 1.05),
    Target("capture", "HF Mamba, all states, x plain forward", "<= 1.9",
           lambda f: f[MAMBA]["everything"]["ratio"], lambda v: v <= 1.9),
    *(
        target
        for way in ("factors", "every 16th token")
        for target in (
            Target("memory", f"Mamba 130m, 2,048 tokens, {way}: kept / budget", "<= 1",
                   share(way, "bytes kept"), lambda v: v <= 1),
            Target("memory", "... peak above plain forward / budget", "<= 1",
                   share(way, "peak above plain"), lambda v: v <= 1),
            Target("memory", "... |counted / kept - 1|", "<= 0.01",
                   lambda f, way=way: abs(f[way]["bytes counted"] / f[way]["bytes kept"] - 1),
                   lambda v: v <= 0.01),
        )
    ),
    *(
        Target("memory", f"{way}: refused, peak above plain / budget", "<= 1",
               lambda f, way=way: refused(f[way]), lambda v: v <= 1)
        for way in ("every state, budget of factors", "every state, budget below one layer")
    ),
    Target("linear_attention", "T 4,096: naive cumsum / ours, time", ">= 50",
           lambda f: both(f, 4096, "naive"), lambda v: v >= 50),
    Target("linear_attention", "T 4,096: ours / naive cumsum, peak memory", "<= 0.125",
           lambda f: f["peak_mib_4096"]["torch"] / f["peak_mib_4096"]["naive"],
           lambda v: v <= 0.125),
    Target("linear_attention", "T 4,096: softmax / ours, time", ">= 5",
           lambda f: both(f, 4096, "softmax"), lambda v: v >= 5),
    Target("linear_attention", "T 16,384: softmax / ours, time", ">= 12",
           lambda f: both(f, 16384, "softmax"), lambda v: v >= 12),
    Target("linear_attention", "exponent of time from 1k to 16k", "<= 1.25",
           lambda f: f["exponent"], lambda v: v <= 1.25),
    Target("linear_attention_cuda", "H100: fla / ours, both ways, least over T", "> 1",
           lambda f: min(r["fla"]["both_ms"] / r["triton"]["both_ms"] for r in f.values()),
           lambda v: v > 1),
    Target("linear_attention_cuda", "... softmax / ours, least from T 2,048", "> 1",
           lambda f: min(r["softmax"]["both_ms"] / r["triton"]["both_ms"]
                         for t, r in f.items() if int(t) >= 2048), lambda v: v > 1),
    Target("linear_attention_cuda", "... forward / copy of the same bytes, T 65,536", "<= 2",
           lambda f: f["65536"]["triton"]["forward_ms"] / f["65536"]["copy"]["forward_ms"],
           lambda v: v <= 2),
    Target("linear_attention_generation", "ms a token at 16,000 / at 100", "<= 1.1",
           lambda f: f["ratio"], lambda v: v <= 1.1),
    *(
        Target("state_analysis", f"PCA of 4,096 states, k {k}: formed ({way}) / implicit, time",
               ">= 50", lambda f, k=k, way=way: f["seconds"][f"formed, {way}"]
               / f["seconds"][f"implicit, k {k}"], lambda v: v >= 50)
        for k in (3, 10) for way in ("svd", "covariance and eigh")
    ),
    *(
        Target("state_analysis", f"... largest relative error of 10 eigenvalues of {of}", "<= 1e-5",
               lambda f, of=of: f["errors"][of]["eigenvalues"], lambda v: v <= 1e-5)
        for of in ("S", "S/t", "S/z")
    ),
    Target("state_analysis", "... peak memory at 16,384 / at 4,096 tokens", "<= 4.2",
           lambda f: f["peak_bytes"]["implicit"]["16384"] / f["peak_bytes"]["implicit"]["4096"],
           lambda v: v <= 4.2),
    Target("similarity", "distance of conjugate systems, n 50, worst pair", "<= 1e-6",
           worst_pair("distance"), lambda v: v <= 1e-6),
    Target("similarity", "... s, slowest run", "<= 0.5",
           worst_pair("slowest"), lambda v: v <= 0.5),
    Target("dimension", "six estimators, 10,000 x 128: ours / scikit-dimension, time", "<= 0.125",
           lambda f: f["dynprobe"]["seconds"]["all"]
           / f.get("scikit-dimension", {"seconds": {"all": 0.01}})["seconds"]["all"],
           lambda v: v <= 0.125),
    Target("dimension", "... largest difference of a value, relative", "<= 0.01",
           lambda f: max(abs(f["dynprobe"]["values"][n] / v - 1)
                         for n, v in f.get("scikit-dimension", f["dynprobe"])["values"].items()),
           lambda v: v <= 0.01),
    Target("dimension", "... growth of the process, GB", "<= 0.6",
           lambda f: f["dynprobe"]["growth"] / 1e9, lambda v: v <= 0.6),
    *(
        Target("streaming", f"covariance, 10^7 x 256, {way}: float32 X^T X / ours, time",
               ">= 0.7", lambda f, way=way: f["covariance"]["throughput / float32 product"][way],
               lambda v: v >= 0.7)
        for way in ("exact", "single")
    ),
    Target("streaming", "... exact, in float64: float64 X^T X / ours, time", ">= 0.7",
           lambda f: f["covariance"]["throughput / float64 product"]["exact"],
           lambda v: v >= 0.7),
    Target("streaming", "... largest error of an entry, exact", "<= 1e-12",
           lambda f: f["covariance"]["error"]["exact"], lambda v: v <= 1e-12),
    Target("streaming", "... the same, single", "<= 1e-6",
           lambda f: f["covariance"]["error"]["single"], lambda v: v <= 1e-6),
    Target("streaming", "... |peak memory at 10^7 / at 10^5 - 1|", "<= 0.05",
           lambda f: abs(f["covariance"]["runs"]["1e+07"]["peak bytes"]
                         / f["covariance"]["runs"]["1e+05"]["peak bytes"] - 1),
           lambda v: v <= 0.05),
    Target("streaming", "recording to disk: one raw file / shards, time", ">= 0.7",
           lambda f: f["recording"]["throughput beside one raw file"], lambda v: v >= 0.7),
    *(
        Target("stacked_training", f"stack of {n}: products alone / training step, time", ">= 0.5",
               lambda f, n=n: f["share of the bound"][f"stack of {n}"], lambda v: v >= 0.5)
        for n in (1, 2, 5)
    ),
    Target("mamba_scan", "scan, ours / plain loop, time", "<= 1",
           lambda f: f["seconds"]["scan, ours"] / f["seconds"]["scan, plain loop"],
           lambda v: v <= 1),
    Target("mamba_scan", "training step, ours / plain loop, time", "<= 1",
           lambda f: f["seconds"]["step, ours"] / f["seconds"]["step, plain loop"],
           lambda v: v <= 1),
    Target("mamba_scan", "training step, Hugging Face / ours, time", ">= 5",
           lambda f: f["seconds"]["step, Hugging Face"] / f["seconds"]["step, ours"],
           lambda v: v >= 5),
    Target("text_ag_news_gru", "AG News test accuracy, worst seed", ">= 0.85",
           over_seeds("accuracy", min), lambda v: v >= 0.85),
]  # fmt: skip


def main() -> None:
    table = Table("result", "figure", "target", "measured", "", box=None, pad_edge=False)
    for target in TARGETS:
        path = RESULTS / f"{target.result}.json"
        if not path.exists():
            table.add_row(target.result, target.figure, target.wanted, "-", "not measured")
            continue
        value = target.value(json.loads(path.read_text())["figures"])
        verdict = "[green]met" if target.met(value) else "[red]missed"
        table.add_row(target.result, target.figure, target.wanted, f"{value:.4g}", verdict)
    Console().print(table)


if __name__ == "__main__":
    main()
