"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynprobe.atomic import whole_file


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "run.txt"
    for text in ("first", "second"):
        with whole_file(target) as part:
            part.write_text(text)
            assert not target.exists() or target.read_text() == "first"
        assert target.read_text() == text
    assert list(tmp_path.iterdir()) == [target]


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "run.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), whole_file(target) as part:
        part.write_text("ne")
        raise RuntimeError("half way")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
