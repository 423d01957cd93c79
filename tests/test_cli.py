from __future__ import annotations

import json
import re

import pytest
import torch
from typer.testing import CliRunner

import dynprobe
from dynprobe.cli import app, main


def invoke(*args):
    return CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "120"})


def test_a_short_demo_writes_its_report(tmp_path):
    out = tmp_path / "report.html"
    result = invoke("demo", "--units", 8, "--steps", 3, "--out", out)
    assert result.exit_code == 0, result.output
    # words of the table may stand on two lines
    assert {"participation", "ratio", "manifold_dimension"} <= set(result.output.split())
    assert "3 steps of 128 fresh phrases" in result.output
    page = out.read_text()
    assert page.lower().startswith("<!doctype html>")
    assert "8 units" in page


def small_text(folder):
    words = {"sport": ["goal", "team", "match"], "money": ["bank", "stock", "price"]}
    generator = torch.Generator().manual_seed(0)
    rows = ["label,text"]
    for i in range(80):
        label = ["sport", "money"][i % 2]
        picks = torch.randint(0, 3, (6,), generator=generator).tolist()
        rows.append(f"{label},{' '.join(words[label][p] for p in picks)}")
    source = folder / "small.csv"
    source.write_text("\n".join(rows))
    return source


def test_run_on_a_small_text_file(tmp_path):
    source = small_text(tmp_path)
    out = tmp_path / "r.json"
    args = ["run", "--text", source, "--model", "lstm", "--units", 8, "--epochs", 1, "--out", out]
    result = invoke(*args)
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    assert "bag of words, same split" in report["details"]
    assert report["layers"]["rnn"]["results"]["manifold_dimension"]["n_classes"] == 2
    assert not report["layers"]["rnn"]["failures"]


def test_compare_kinds_of_models_on_counting(tmp_path):
    out = tmp_path / "compare.html"
    kinds = ["gru", "linear_transformer", "gru"]
    result = invoke("compare", *kinds, "--length", 6, "--steps", 2, "--out", out)
    assert result.exit_code == 0, result.output
    # each by its own recipe, and the second GRU with its own seed
    assert "2 steps of 128 fresh phrases" in result.output
    assert "2 steps of 64 fresh phrases" in result.output
    assert "gru 2, seed: 1" in result.output
    page = out.read_text()
    assert "Do gru, linear_transformer and gru 2 compute it the same way?" in page
    assert "AdamW" in page


def test_compare_mamba_and_the_other_recurrent_kinds(tmp_path):
    out = tmp_path / "compare.json"
    kinds = ["mamba", "rnn"]
    result = invoke("compare", *kinds, "--length", 6, "--steps", 2, "--out", out)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    rows = {(row["notion"], row["measure"]): row["cells"] for row in found["rows"]}
    missing = [
        (*row, name)
        for row, cells in rows.items()
        for name, cell in cells.items()
        if cell["missing"] and row[1] != "participation ratio of S/z"
    ]
    # what mamba's classifier reads is not its memory, and nothing else is left out
    assert missing == [("memory", "linear readout", "mamba")]
    assert rows["stream", "width"]["mamba"]["value"] == 64
    assert rows["memory", "state"]["mamba"]["value"] == 128 * 16
    assert rows["memory", "fixed points"]["mamba"]["text"].startswith("1, in closed form")


def test_compare_on_a_small_text_file(tmp_path):
    out = tmp_path / "c.json"
    source = small_text(tmp_path)
    kinds = ["lstm", "linear_transformer", "ugrnn", "mamba"]
    result = invoke("compare", *kinds, "--text", source, "--epochs", 1, "--out", out)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert found["models"] == kinds
    assert set(found["dimensions"]["stream"]) == set(kinds)
    assert "80" not in found["findings"][0]["sentence"]  # of the test part only
    assert "best of 1 epochs" in found["details"]["lstm"]["training"]


def test_one_model_is_no_comparison(tmp_path):
    result = invoke("compare", "gru", "--out", tmp_path / "c.html")
    assert result.exit_code == 2
    assert "at least two" in result.output


def test_analyze_a_saved_recording(tmp_path):
    rec = dynprobe.Recording.from_arrays(torch.randn(5, 6, 3))
    path = rec.save(tmp_path / "rec")
    result = invoke("analyze", path, "--out", tmp_path / "pictures")
    assert result.exit_code == 0, result.output
    assert "needs the recurrence" in " ".join(result.output.split())
    assert list((tmp_path / "pictures").glob("*.png"))
    result = invoke("analyze", path, "--analyzer", "manifold_dimension")
    assert "fixed_points" not in result.output


def test_a_wrong_suffix_is_refused_before_the_training(tmp_path):
    result = invoke("demo", "--out", tmp_path / "report.pdf")
    assert result.exit_code == 2
    assert "a report is .html" in re.sub(r"[\s│]+", " ", result.output)
    result = invoke("demo", "--out", tmp_path / "none" / "report.html")
    assert result.exit_code == 2


@pytest.mark.parametrize("command", ["reproduce", "survey"])
def test_a_device_that_is_not_there_is_refused_before_the_training(command, tmp_path):
    result = invoke(command, "--quick", "--device", "nowhere", "--out", tmp_path)
    assert result.exit_code == 2
    said = re.sub(r"[\s│]+", " ", result.output)
    assert "torch cannot use 'nowhere' here" in said
    assert "Pass --device cpu" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["analyze", "none.safetensors"], "There is no recording at none.safetensors"),
        (["run", "--text", "none.csv"], "none.csv"),
    ],
)
def test_errors_are_one_message_not_a_traceback(args, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["dynprobe", *args])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    err = " ".join(capsys.readouterr().err.split())
    assert message in err
    assert "Traceback" not in err
