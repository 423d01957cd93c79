"""Thousands of damaged and forged files: a clear error or the same data; nothing is executed."""

from __future__ import annotations

import json
import pickle
import random
import warnings
import zlib
from pathlib import Path

import pytest
import torch

import dynprobe
from dynprobe.errors import DynprobeError

DAMAGED, FORGED, IN_FOLDERS = 1500, 1000, 300


def recording() -> dynprobe.Recording:
    generator = torch.Generator().manual_seed(0)
    return dynprobe.Recording.from_arrays(
        torch.randn(3, 5, 4, generator=generator),
        inputs=torch.randn(3, 5, 2, generator=generator),
        lengths=[5, 3, 4],
        tokens=torch.randint(0, 9, (3, 5), generator=generator),
        labels=[0, 1, 2],
        logits=torch.randn(3, 3, generator=generator),
        vocabulary=[f"word {i}" for i in range(9)],
        classes=["a", "b", "c"],
    )


def same(a: dynprobe.Recording, b: dynprobe.Recording) -> bool:
    return all(
        torch.equal(getattr(a, name), getattr(b, name))
        for name in ("states", "inputs", "lengths", "tokens", "labels", "logits")
    ) and (a.meta.vocabulary, a.meta.classes) == (b.meta.vocabulary, b.meta.classes)


def damage(whole: bytes, rng: random.Random) -> bytes:
    """Cut, flip, overwrite, insert or repeat some of it; never nothing."""
    place, length = rng.randrange(len(whole)), rng.randint(1, 40)
    flipped = bytes([whole[place] ^ (1 << rng.randrange(8))])
    return rng.choice([
        lambda: whole[:place],
        lambda: whole[place:],
        lambda: whole[:place] + flipped + whole[place + 1 :],
        lambda: whole[:place] + rng.randbytes(length) + whole[place + length :],
        lambda: whole[:place] + bytes(length) + whole[place:],
        lambda: whole[:place] + whole[place : place + length] * 2 + whole[place + length :],
        lambda: whole + rng.randbytes(length),
        lambda: rng.randbytes(length),
        lambda: (1 << rng.randrange(63)).to_bytes(8, "little") + whole[8:],
    ])()  # fmt: skip


def signed(header: dict, data: bytes) -> bytes:
    """A file whose checksum is right, whatever its header says."""
    header["__metadata__"]["crc32"] = "0" * 8
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = len(text).to_bytes(8, "little") + text
    crc = f"{zlib.crc32(start + data):08x}".encode()
    return start.replace(b'"crc32":"00000000"', b'"crc32":"' + crc + b'"', 1) + data


def forge(value: object, rng: random.Random) -> object:
    """The same JSON with one thing in it changed."""
    other = rng.choice([None, -1, 0, 1, 2**31, 2**62, 1e308, "", "x", [], {}, [[]], True, "states"])
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: forge(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], forge(value[place], rng), *value[place + 1 :]]
    return other


def parts(whole: bytes) -> tuple[dict, bytes]:
    end = 8 + int.from_bytes(whole[:8], "little")
    return json.loads(whole[8:end]), whole[end:]


def test_a_damaged_file_is_refused_or_the_same(tmp_path):
    original, rng = recording(), random.Random(0)
    path = original.save(tmp_path / "run.safetensors")
    whole = path.read_bytes()
    refused = 0
    for _ in range(DAMAGED):
        path.write_bytes(damage(whole, rng))
        try:
            found = dynprobe.load(path)
        except DynprobeError as error:
            refused += str(path) in str(error)
        else:
            assert same(found, original)
    assert refused > 0.95 * DAMAGED


def test_a_forged_header_is_refused_or_read_as_what_it_says(tmp_path):
    """Its checksum is right: somebody meant it. What is wrong inside must still be an error."""
    rng = random.Random(1)
    path = recording().save(tmp_path / "run.safetensors")
    header, data = parts(path.read_bytes())
    refused = 0
    for _ in range(FORGED):
        changed = json.loads(json.dumps(header))
        if rng.random() < 0.5:
            inner = forge(json.loads(changed["__metadata__"]["dynprobe"]), rng)
            changed["__metadata__"]["dynprobe"] = json.dumps(inner)
        else:
            tensors = {k: v for k, v in changed.items() if k != "__metadata__"}
            found = forge(tensors, rng)
            changed = {"__metadata__": changed["__metadata__"]} | (
                found if isinstance(found, dict) else {"states": found}
            )
        path.write_bytes(signed(changed, data))
        try:
            back = dynprobe.load(path)
            repr(back), back.states, back.final, back.mask
        except DynprobeError:
            refused += 1
    assert refused > 0.5 * FORGED


def test_a_damaged_folder_gives_what_is_whole_and_names_the_rest(tmp_path):
    rng, model = random.Random(2), torch.nn.GRU(2, 3, batch_first=True)
    inputs = torch.randn(6, 2, 4, 2)
    with dynprobe.attach(model) as probe, torch.no_grad(), probe.record_to(tmp_path / "run"):
        for x in inputs:
            model(x)
    original = dynprobe.load(tmp_path / "run")
    states = original.states.clone()
    del original
    files = sorted(p for p in (tmp_path / "run").rglob("*") if p.is_file())
    shards = [p for p in files if p.suffix == ".safetensors" and "shard" in p.name]
    assert len(shards) == 6
    for _ in range(IN_FOLDERS):
        path = rng.choice(files)
        whole = path.read_bytes()
        path.write_bytes(damage(whole, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = dynprobe.load(tmp_path / "run")
                left = found.states
            except DynprobeError:
                assert path not in shards
            else:
                lost = len(states) - len(left)
                assert lost in ((0, 2) if path in shards else (0,))
                k = shards.index(path) if lost else 0
                assert torch.equal(left, torch.cat([states[: 2 * k], states[2 * k + lost :]]))
                if lost:
                    assert any(path.name in what for what in found.damaged)
        path.write_bytes(whole)


class Bomb:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return Path.touch, (self.sentinel,)


@pytest.mark.parametrize("name", ["run.safetensors", "run.pkl", "run.pt", "run"])
def test_a_pickle_is_never_executed(tmp_path, name):
    sentinel = tmp_path / "executed"
    target = tmp_path / name
    if name == "run":
        target.mkdir()
        for inside in ("manifest.json", "shard-000000.safetensors", "constants.safetensors"):
            (target / inside).write_bytes(pickle.dumps(Bomb(sentinel)))
    elif name.endswith(".pt"):
        torch.save(Bomb(sentinel), target)
    else:
        target.write_bytes(pickle.dumps(Bomb(sentinel)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DynprobeError):
            dynprobe.load(target)
    assert not sentinel.exists()
    pickle.loads(pickle.dumps(Bomb(sentinel)))  # the bomb works
    assert sentinel.exists()
