"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from dynprobe.atomic import durable_file, whole_file
from dynprobe.checked_file import check, read_header, write_checked


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


def test_a_large_file_is_what_was_given(tmp_path: Path) -> None:
    target = tmp_path / "large"
    tensors = {"a": torch.arange(5_000_000), "b": torch.arange(7, dtype=torch.uint8)}
    with durable_file(target) as file:
        write_checked(file, tensors, {"x": "y"})
    check(target, read_header(target))


@pytest.mark.parametrize("failing", [1, 2, 3, -1])
def test_an_error_of_the_disk_is_told_whenever_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """A disk tells of a write that failed once: what it says must not be lost."""
    real, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(errno.EIO, "no luck")
        real(descriptor)

    def write() -> None:
        with durable_file(tmp_path / "large") as file:
            write_checked(file, {"a": torch.zeros(12_000_000)}, {})

    monkeypatch.setattr(os, "fsync", fsync)
    if failing < 0:
        write()
        assert len(calls) > 3
        return
    with pytest.raises(OSError, match="no luck"):
        write()
    assert list(tmp_path.iterdir()) == []
