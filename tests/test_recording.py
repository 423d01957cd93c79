from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import dynprobe
from dynprobe import Recording
from dynprobe.errors import (
    FileFormatError,
    NonFiniteStatesError,
    ParameterError,
    ShapeError,
    UnknownNameError,
    WriteError,
)


def make(sequences=3, time=5, width=4, **kwargs):
    generator = torch.Generator().manual_seed(0)
    return Recording.from_arrays(
        torch.randn(sequences, time, width, generator=generator), lengths=[5, 2, 3], **kwargs
    )


def test_from_numpy():
    rec = Recording.from_arrays(
        np.ones((2, 3, 4)), inputs=np.zeros((2, 3, 1)), tokens=np.ones((2, 3), int), labels=[0, 1]
    )
    assert rec.states.dtype == torch.float64
    assert rec.lengths.tolist() == [3, 3]
    assert rec.inputs.shape == (2, 3, 1)
    assert "2 sequences, 6 states" in repr(rec)


def test_flat_final_mask_and_sample():
    rec = make()
    assert len(rec.flat()) == 10
    assert torch.equal(rec.final[1], rec.states[1, 1])
    a, b = rec.sample(6, noise=0.1, seed=1), rec.sample(6, noise=0.1, seed=1)
    assert torch.equal(a, b)
    assert not torch.equal(a, rec.sample(6, noise=0.1, seed=2))
    exact = rec.sample(10)
    rows = {tuple(r) for r in rec.flat().tolist()}
    assert {tuple(r) for r in exact.tolist()} == rows  # without replacement
    assert rec.sample(25).shape == (25, 4)


def test_nothing_valid_to_sample():
    rec = Recording.from_arrays(torch.ones(2, 3, 4), lengths=[0, 0])
    with pytest.raises(ShapeError, match="no valid step"):
        rec.sample(1)


def test_parts():
    rec = make(layout=dynprobe.Layout.of(h=1, S=(1, 3)))
    assert rec.part("S").shape == (3, 5, 1, 3)
    with pytest.raises(UnknownNameError, match="no part 'c'.*'S', 'h'"):
        rec.part("c")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"states": torch.ones(3, 4)}, r"states\[:, None\]"),
        ({"inputs": torch.ones(3, 4, 2)}, r"\(3, 5\)"),
        ({"lengths": [1, 2]}, "one number per sequence"),
        ({"lengths": [1, 2, 9]}, "5 steps"),
        ({"tokens": torch.ones(2, 5)}, "describe 2 sequences"),
        ({"tokens": torch.ones(3, 6)}, r"at most \(3, 5\)"),
        ({"labels": [1, 2]}, "describe 2 sequences, but the recording holds 3"),
        ({"layout": dynprobe.Layout.of(h=3)}, "width 4"),
    ],
)
def test_shapes_that_do_not_fit(kwargs, message):
    with pytest.raises(ShapeError, match=message):
        Recording.from_arrays(**({"states": torch.ones(3, 5, 4)} | kwargs))


@pytest.mark.parametrize("dt", [0, -1, float("nan"), float("inf"), "long", [1, 2], None])
def test_a_step_takes_some_time(dt):
    with pytest.raises(ParameterError, match="not the length of a step"):
        Recording.from_arrays(torch.ones(1, 2, 3), dt=dt)
    with pytest.raises(ParameterError, match="not the length of a step"):
        dynprobe.attach(torch.nn.GRU(2, 3), dt=dt)


def test_a_step_given_as_an_array_of_one(tmp_path):
    rec = Recording.from_arrays(torch.ones(1, 2, 3), dt=torch.tensor(0.5))
    assert dynprobe.load(rec.save(tmp_path / "a")).meta.dt == 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_token_ids_of_any_width(tmp_path, dtype):
    ids = np.array([[1, 2], [3, 4]], dtype=dtype)
    rec = Recording.from_arrays(torch.ones(2, 2, 3), tokens=ids, labels=ids[:, 0])
    again = dynprobe.load(rec.save(tmp_path / "a"))
    assert again.tokens.tolist() == ids.tolist()
    assert again.labels.tolist() == [1, 3]


def test_arrays_are_copied():
    states = torch.ones(1, 2, 3)
    rec = Recording.from_arrays(states)
    states.zero_()
    assert rec.states.sum() == 6


def test_not_finite():
    rec = make()
    rec.states[1, 1, 2] = float("nan")
    with pytest.raises(
        NonFiniteStatesError, match=r"1 of 10 steps, first at sequence 1, step 1, units \[2\]"
    ):
        dynprobe.analyze(rec)
    rec.states[1, 1, 2] = 0
    rec.states[1, 4, 2] = float("inf")  # beyond the end: nobody looks there
    rec.check_finite()


def equal(a: Recording, b: Recording) -> None:
    assert a.meta == b.meta
    for name in ("states", "lengths", "initial", "inputs", "tokens", "labels", "logits"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        assert x is None or (torch.equal(x, y) and x.dtype == y.dtype)
    assert (a.readout is None) == (b.readout is None)


@settings(max_examples=30, deadline=None)
@given(
    sequences=st.integers(0, 4),
    time=st.integers(0, 5),
    width=st.integers(1, 4),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    inputs=st.booleans(),
    labels=st.booleans(),
)
def test_save_and_load_round_trip(tmp_path_factory, sequences, time, width, dtype, inputs, labels):
    rec = Recording.from_arrays(
        torch.randn(sequences, time, width).to(dtype),
        inputs=torch.randn(sequences, time, 2) if inputs else None,
        labels=torch.zeros(sequences, dtype=torch.int64) if labels else None,
        vocabulary=["a", "ü", "</script>"],
        classes=["x"],
        dt=0.5,
        unit="ms",
    )
    path = rec.save(tmp_path_factory.mktemp("r") / "run")
    assert path.suffix == ".safetensors"
    equal(rec, dynprobe.load(path))
    equal(rec, dynprobe.load(path.with_suffix("")))


def test_the_readout_is_saved(tmp_path):
    model = torch.nn.GRU(2, 3, batch_first=True)
    with dynprobe.attach(model, readout=(torch.randn(2, 3), torch.randn(2))) as probe:
        model(torch.randn(4, 5, 2))
    back = dynprobe.load(probe.recording().save(tmp_path / "a.safetensors"))
    assert torch.equal(back.readout.weight, probe.readout().weight)
    assert torch.equal(back.readout.bias, probe.readout().bias)


class TestFiles:
    def test_missing(self, tmp_path):
        with pytest.raises(FileFormatError, match="no recording at"):
            dynprobe.load(tmp_path / "none")

    def test_missing_folder(self, tmp_path):
        with pytest.raises(FileFormatError, match="does not exist. Create it"):
            make().save(tmp_path / "no" / "run")

    def test_not_safetensors(self, tmp_path):
        path = tmp_path / "x.safetensors"
        path.write_bytes(b"hello, this is text")
        with pytest.raises(FileFormatError, match="not a safetensors file, or it is damaged"):
            dynprobe.load(path)

    def test_foreign_safetensors(self, tmp_path):
        save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
        with pytest.raises(FileFormatError, match="not a dynprobe recording"):
            dynprobe.load(tmp_path / "w.safetensors")

    def test_a_pickle_is_refused_and_not_executed(self, tmp_path):
        torch.save({"states": torch.ones(2)}, tmp_path / "m.pt")
        with pytest.raises(FileFormatError):
            dynprobe.load(tmp_path / "m.pt")

    def test_truncated_or_flipped_is_an_error_or_equal(self, tmp_path):
        rec = make(labels=[0, 1, 2])
        path = rec.save(tmp_path / "run.safetensors")
        whole = path.read_bytes()
        generator = np.random.default_rng(0)
        damaged = [whole[: int(n)] for n in generator.integers(0, len(whole), 40)]
        for place in generator.integers(0, len(whole), 120):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << int(generator.integers(8))
            damaged.append(bytes(flipped))
        for content in damaged:
            path.write_bytes(content)
            with pytest.raises(FileFormatError):
                dynprobe.load(path)

    def test_a_newer_format(self, tmp_path):
        save_file(
            {"states": torch.ones(1, 1, 1)},
            tmp_path / "n.safetensors",
            metadata={"dynprobe": '{"format": 99}'},
        )
        with pytest.raises(FileFormatError, match="format 99.*newer dynprobe"):
            dynprobe.load(tmp_path / "n.safetensors")

    def test_a_failed_save_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = make().save(tmp_path / "run")
        before = path.read_bytes()

        def fail(*_, **__):
            raise OSError("disk full")

        monkeypatch.setattr("dynprobe.storage.write_checked", fail)
        with pytest.raises(WriteError, match="could not be written: disk full. Nothing of it is"):
            make().save(tmp_path / "run")
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_initial_state_is_not_made_up(tmp_path):
    rec = make()
    assert rec.initial is None
    assert rec.before[:, 0].isnan().all()
    assert torch.equal(rec.before[:, 1:], rec.states[:, :-1])
    assert dynprobe.load(rec.save(tmp_path / "r")).initial is None
    known = make(initial=torch.ones(3, 4))
    assert torch.equal(known.before[:, 0], torch.ones(3, 4))
    with pytest.raises(ShapeError, match="expected \\(3, 4\\)"):
        make(initial=torch.ones(2, 4))
