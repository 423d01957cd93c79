"""Seconds that `import dynprobe` adds to `import torch`: fresh interpreters, interleaved, medians.

python benchmarks/import_time.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from machine import save

CODE = "import time, torch; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
CASES = {
    "import dynprobe": "import dynprobe",
    "import dynprobe and use attach": "import dynprobe; dynprobe.attach",
}


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(9):
        for name, code in CASES.items():
            out = subprocess.run(
                [sys.executable, "-c", CODE.format(code)], check=True, capture_output=True
            )
            times[name].append(float(out.stdout))
    figures = {name: statistics.median(t) for name, t in times.items()}
    for name, seconds in figures.items():
        print(f"{name}: {seconds * 1000:.0f} ms beyond torch")
    save("import_time", figures)


if __name__ == "__main__":
    main()
