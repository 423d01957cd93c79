"""The pictures of five ordered classes in docs/reproduction.md, of both units.

python benchmarks/ordered_pictures.py FOLDER

FOLDER is that of `dynprobe reproduce`, which has drawn the same pictures into its page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dynprobe.study.reproduce.figures import pictures
from dynprobe.study.reproduce.rows import read_rows
from dynprobe.study.reproduce.run import ROWS, Reproduction
from dynprobe.study.reproduce.settings import full_settings

IMAGES = Path(__file__).parents[1] / "docs" / "img"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    settings = [s for s in full_settings() if (s.kind, s.n) == ("ordered", 5)]
    for picture in pictures(Reproduction(read_rows(folder / ROWS), folder, settings, False)):
        if picture.name.startswith("ordered5") and picture.figure is not None:
            path = IMAGES / f"{picture.name}.png"
            picture.figure.savefig(path, dpi=110)
            print(f"written: {path.name}")


if __name__ == "__main__":
    main()
