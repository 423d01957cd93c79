"""Causal linear attention against softmax attention, a naive cumsum and other kernels.

    python benchmarks/linear_attention.py
    python benchmarks/linear_attention.py --idiap PATH    # a built checkout of fast-transformers
    python benchmarks/linear_attention.py --device cuda
    python benchmarks/linear_attention.py --generation    # milliseconds a token, by position

CPU: one thread, batch 1, 8 heads, 64 wide, float32. CUDA: batch 4, bfloat16, and what a copy of
the same bytes costs. Interleaved medians; peak memory of forward + backward in a fresh process
(CPU) or as the allocator counts it (CUDA).
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import save
from torch.nn.functional import scaled_dot_product_attention

from dynprobe.nn import causal_linear_attention

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
HEADS, WIDTH = 8, 64
EPS = 1e-6


def phi(x: torch.Tensor) -> torch.Tensor:
    return x.relu() + x.clamp(max=0).exp()


def naive(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The cumulative sum of outer products, every state in memory."""
    q, k = phi(q), phi(k)
    states = (k[..., :, None] * v[..., None, :]).cumsum(2)
    out = (q[..., None, :] @ states).squeeze(-2)
    return out / ((q * k.cumsum(2)).sum(-1, keepdim=True) + EPS)


def softmax(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return scaled_dot_product_attention(q, k, v, is_causal=True)


def idiap(path: str) -> Attention | None:
    sys.path.insert(0, path)
    try:
        from fast_transformers.causal_product import causal_dot_product
    except Exception as error:
        print(f"idiap/fast-transformers left out: {error}")
        return None

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k = phi(q), phi(k)
        total = (q * k.cumsum(2)).sum(-1, keepdim=True) + EPS
        return causal_dot_product(q, k, v) / total

    return attention


def fla() -> Attention | None:
    try:
        from fla.ops.linear_attn import chunk_linear_attn
    except Exception as error:
        print(f"fla left out: {error}")
        return None

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        by_time = (x.transpose(1, 2).contiguous() for x in (phi(q), phi(k), v))
        return chunk_linear_attn(*by_time, scale=1.0, normalize=True)[0].transpose(1, 2)

    return attention


def tensors(batch: int, steps: int, device: str, dtype: torch.dtype) -> list[torch.Tensor]:
    shape = (batch, HEADS, steps, WIDTH)
    made = [torch.randn(shape, device=device, dtype=dtype) for _ in range(4)]
    return [x.requires_grad_(i < 3) for i, x in enumerate(made)]


def measure(
    cases: dict[str, Attention], batch: int, steps: int, device: str, dtype: torch.dtype, runs: int
) -> dict[str, dict[str, float]]:
    """Median milliseconds of forward and backward, the cases taking turns."""
    *qkv, grad = tensors(batch, steps, device, dtype)
    sync = torch.cuda.synchronize if device == "cuda" else lambda: None
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for turn in range(-1, runs):  # turn -1 warms up
        for name, attention in cases.items():
            sync()
            start = time.perf_counter()
            out = attention(*qkv)
            sync()
            middle = time.perf_counter()
            torch.autograd.grad(out, qkv, grad)
            sync()
            if turn >= 0:
                times[name].append((middle - start, time.perf_counter() - middle))
            del out
    figures = {}
    for name, pairs in times.items():
        forward, backward = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
        both = 1e3 * statistics.median(a + b for a, b in pairs)
        figures[name] = {"forward_ms": forward, "backward_ms": backward, "both_ms": both}
        print(f"T {steps:6}  {name:14} {forward:9.2f} + {backward:9.2f} ms")
    return figures


def _grow(case: str, steps: int, pipe: multiprocessing.connection.Connection) -> None:
    torch.set_num_threads(1)
    attention = CPU[case]
    for length in (64, steps):
        before = _peak()
        *qkv, grad = tensors(1, length, "cpu", torch.float32)
        torch.autograd.grad(attention(*qkv), qkv, grad)
    pipe.send((_peak() - before) / 1024)


def _peak() -> int:
    """Peak resident KiB of this process; getrusage would report its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def memory(case: str, steps: int) -> float:
    """MiB by which forward + backward, inputs included, raise the peak of a fresh process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_grow, args=(case, steps, there))
    process.start()
    process.join()
    return here.recv()


CPU: dict[str, Attention] = {
    "torch": causal_linear_attention,
    "softmax": softmax,
    "naive": naive,
}


def on_cpu(path: str | None) -> None:
    torch.set_num_threads(1)
    cases = dict(CPU)
    if path is not None and (kernel := idiap(path)) is not None:
        cases["idiap"] = kernel
    *qkv, _ = tensors(1, 300, "cpu", torch.float32)
    for name, attention in cases.items():
        if name != "softmax":
            torch.testing.assert_close(attention(*qkv), naive(*qkv), rtol=1e-4, atol=1e-5)
    figures: dict[str, object] = {}
    for steps, runs in {128: 25, 256: 25, 512: 25, 1024: 7, 4096: 5, 16384: 3}.items():
        # The naive form would need some 10 GB at 16,384.
        some = {n: f for n, f in cases.items() if n != "naive" or steps <= 4096}
        figures[str(steps)] = measure(some, 1, steps, "cpu", torch.float32, runs)
    # Short and long take turns, so that both see the same machine.
    own = {"torch": causal_linear_attention}
    ends: dict[int, list[float]] = {1024: [], 16384: []}
    for _ in range(7):
        for steps, found in ends.items():
            found.append(measure(own, 1, steps, "cpu", torch.float32, 1)["torch"]["both_ms"])
    short, long = (statistics.median(found) for found in ends.values())
    figures["exponent"] = math.log(long / short) / math.log(16)
    figures["peak_mib_4096"] = {case: memory(case, 4096) for case in CPU}
    print(f"exponent {figures['exponent']:.3f}, peak MiB {figures['peak_mib_4096']}")
    save("linear_attention", figures)


def generation() -> None:
    """Milliseconds a token through the cache of a linear transformer, early and late in a text."""
    from dynprobe.nn import LinearTransformerConfig, LinearTransformerForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = LinearTransformerForCausalLM(LinearTransformerConfig(vocab_size=1000)).eval()
    positions, each, figures = (100, 16_000), 25, {}
    with torch.inference_mode():
        text = torch.randint(0, 1000, (1, positions[-1]))
        starts = {n: model(text[:, :n], logits_to_keep=1).past_key_values for n in positions}
        token = text[:, :1]
        times: dict[int, list[float]] = {n: [] for n in positions}
        for turn in range(-1, 40):  # turn -1 warms up; the positions take turns
            for n in positions if turn % 2 else positions[::-1]:
                cache = starts[n]
                start = time.perf_counter()
                for _ in range(each):
                    model(token, past_key_values=cache)
                if turn >= 0:
                    times[n].append(1e3 * (time.perf_counter() - start) / each)
        for n, cache in starts.items():
            states = [s for layer in cache.layers for s in layer.recurrent_states.values()]
            figures[str(n)] = {
                "ms_per_token": statistics.median(times[n]),
                "state_numbers": sum(s.numel() for s in states),
            }
            print(f"position {n:6}  {figures[str(n)]['ms_per_token']:.3f} ms a token")
    figures["ratio"] = figures["16000"]["ms_per_token"] / figures["100"]["ms_per_token"]
    print(f"ratio {figures['ratio']:.3f}")
    save("linear_attention_generation", figures)


def copy_ms(source: torch.Tensor) -> float:
    """Median milliseconds of a copy: as many bytes read as written."""
    target, times = torch.empty_like(source), []
    for _ in range(15):
        torch.cuda.synchronize()
        start = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def on_cuda() -> None:
    cases: dict[str, Attention] = {
        "triton": lambda q, k, v: causal_linear_attention(q, k, v, backend="triton"),
        "torch": lambda q, k, v: causal_linear_attention(q, k, v, backend="torch"),
        "softmax": softmax,
    }
    if (kernel := fla()) is not None:
        cases["fla"] = kernel
    batch, figures = 4, {}
    for steps in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536):
        rows = measure(cases, batch, steps, "cuda", torch.bfloat16, 15)
        *qkv, grad = tensors(batch, steps, "cuda", torch.bfloat16)
        moved = sum(x.nbytes for x in qkv) + grad.nbytes  # read q, k, v, write out
        source = torch.empty(moved // 4, dtype=torch.bfloat16, device="cuda")
        copy = copy_ms(source)
        for name, attention in cases.items():
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            torch.autograd.grad(attention(*qkv), qkv, grad)
            rows[name]["peak_mib"] = (torch.cuda.max_memory_allocated() - held) / 2**20
            rows[name]["forward_bytes_per_s"] = moved / rows[name]["forward_ms"] * 1e3
        rows["copy"] = {"forward_ms": copy, "forward_bytes_per_s": moved / copy * 1e3}
        figures[str(steps)] = rows
    save("linear_attention_cuda", figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--idiap", metavar="PATH", help="built checkout of idiap/fast-transformers")
    parser.add_argument("--generation", action="store_true", help="only milliseconds a token")
    arguments = parser.parse_args()
    if arguments.generation:
        generation()
    elif arguments.device == "cuda":
        on_cuda()
    else:
        on_cpu(arguments.idiap)
        generation()


if __name__ == "__main__":
    main()
