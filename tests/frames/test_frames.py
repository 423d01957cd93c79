"""Recordings and results as tables: every row and number is the one in the recording."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.errors import MissingPackageError, ParameterError
from dynprobe.frames.numbers import numbers
from dynprobe.nn import LinearTransformerConfig, LinearTransformerForSequenceClassification

pandas_needed = pytest.mark.requires("pandas")


def recording(**more):
    states = torch.randn(3, 4, 5)
    given = {
        "lengths": [4, 2, 3],
        "tokens": torch.arange(12).reshape(3, 4) % 3,
        "labels": [1, 0, -100],
        "logits": [[0.0, 1.0], [2.0, 1.0], [0.0, 3.0]],
        "vocabulary": ["a", "b", "c"],
        "classes": ["no", "yes"],
    }
    return dynprobe.Recording.from_arrays(states, **given | more)


@pandas_needed
def test_one_row_a_valid_step():
    rec = recording()
    table = rec.to_pandas()
    assert list(table.columns) == ["sequence", "step", "token", "word", "label", "prediction"]
    assert table["sequence"].tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2]
    assert table["step"].tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2]
    assert table["token"].tolist() == rec.tokens[rec.mask].tolist()
    assert table["word"].tolist() == ["abc"[i] for i in rec.tokens[rec.mask].tolist()]
    assert table["label"].dropna().tolist() == ["yes"] * 4 + ["no"] * 2  # -100 stands for none
    assert table["prediction"].tolist() == ["yes"] * 4 + ["no"] * 2 + ["yes"] * 3


@pandas_needed
def test_without_names_there_are_numbers_and_without_anything_only_places():
    table = recording(classes=None, vocabulary=None).to_pandas()
    assert table["label"].tolist() == [1] * 4 + [0] * 2 + [-100] * 3
    assert "word" not in table
    bare = dynprobe.Recording.from_arrays(torch.randn(2, 3, 4)).to_pandas()
    assert list(bare.columns) == ["sequence", "step"]
    assert len(bare) == 6


@pandas_needed
def test_where_every_step_is_read_out_each_has_its_prediction():
    logits = torch.randn(3, 4, 2)
    rec = recording(logits=logits, classes=None)
    assert rec.to_pandas()["prediction"].tolist() == logits.argmax(2)[rec.mask].tolist()


@pandas_needed
def test_several_labels_have_a_column_each():
    labels = torch.tensor([[True, False], [True, True], [False, False]])
    table = recording(labels=labels).to_pandas()
    assert table["label.no"].tolist() == [True] * 6 + [False] * 3
    assert table["prediction.yes"].tolist() == [True] * 9
    assert table["prediction.no"].tolist() == [False] * 4 + [True] * 2 + [False] * 3


@pandas_needed
def test_components_are_those_of_the_states():
    rec = recording()
    table = rec.to_pandas(components=2)
    found = rec.pca(2).scores[rec.mask]
    assert np.allclose(table[["pc1", "pc2"]], found)
    flat = rec.flat().double()
    assert table["pc1"].var() == pytest.approx(float(torch.pca_lowrank(flat)[1][0] ** 2 / 8))
    with pytest.raises(ParameterError, match="components is -1"):
        rec.to_pandas(components=-1)


@pandas_needed
def test_large_states_are_never_formed():
    torch.manual_seed(0)
    config = LinearTransformerConfig(
        vocab_size=6, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_labels=3
    )
    model = LinearTransformerForSequenceClassification(config).eval()
    with dynprobe.attach(model, store="factors") as probe, torch.no_grad():
        model(torch.randint(0, 6, (4, 7)))
    rec = probe.recording()
    table = rec.to_pandas(components=2)
    assert rec.kept is None
    assert rec.formed_bytes == 0
    assert len(table) == 28
    assert table["pc1"].var() > table["pc2"].var() > 0


@pandas_needed
def test_of_every_second_state_the_steps_are_those_that_were_kept():
    model = nn.GRU(2, 3, batch_first=True)
    with dynprobe.attach(model, store=dynprobe.Store(every=2)) as probe:
        model(torch.randn(2, 5, 2))
    assert probe.recording().to_pandas()["step"].tolist() == [1, 3, 1, 3]


@pandas_needed
def test_a_report_is_one_row_a_number():
    model = nn.Sequential()
    model.gru = nn.GRU(2, 3, num_layers=2, batch_first=True)
    with dynprobe.attach(model.gru) as probe:
        model.gru(torch.randn(20, 5, 2))
    report = probe.analyze(["manifold_dimension"])
    table = report.to_pandas()
    assert list(table.columns) == ["analyzer", "layer", "measure", "value"]
    of = table[table["layer"] == "gru.l1"].set_index("measure")["value"]
    result = report["manifold_dimension", "gru.l1"]
    assert of["participation_ratio"] == result.participation_ratio
    assert of["visited.components_95"] == result.visited.components_95
    assert of["visited.variance_ratio[2]"] == float(result.visited.variance_ratio[2])
    wide = table.pivot(index="layer", columns="measure", values="value")
    assert wide.shape[0] == 2
    empty = dynprobe.Report().to_pandas()
    assert list(empty.columns) == ["analyzer", "layer", "measure", "value"]


def test_without_pandas_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'dynprobe\[pandas\]'"):
        recording().to_pandas()
    with pytest.raises(MissingPackageError):
        dynprobe.Report().to_pandas()


@dataclass(frozen=True)
class Inner:
    x: float
    t: torch.Tensor


@dataclass(frozen=True)
class Outer:
    n: int
    yes: bool
    text: str
    none: None
    inner: Inner
    pair: tuple[float, float]
    by: dict[str, float]
    complex_numbers: torch.Tensor
    large: torch.Tensor
    array: np.ndarray = field(default_factory=lambda: np.array(["a"]))

    @property
    def short(self) -> float:
        return self.inner.x

    @property
    def broken(self) -> float:
        raise ValueError("does not apply")


def test_every_number_of_a_result_by_name():
    result = Outer(
        2,
        True,
        "x",
        None,
        Inner(0.5, torch.tensor([[1.0, 2.0]])),
        (3.0, 4.0),
        {"k": 5.0},
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(65),
    )
    plain = {"n": 2.0, "yes": 1.0, "inner.x": 0.5, "by.k": 5.0, "short": 0.5}
    assert numbers(result, tensors=False) == plain
    assert numbers(result) == plain | {
        "inner.t[0, 0]": 1.0,
        "inner.t[0, 1]": 2.0,
        "pair[0]": 3.0,
        "pair[1]": 4.0,
    }
