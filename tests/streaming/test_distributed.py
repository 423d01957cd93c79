"""Ranks that each see a share report what one process reports of everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import dynprobe
from dynprobe.errors import DistributedError

ROOT = Path(__file__).parents[2]
#: Rank r takes the sequences that SHARES gives it, in the batches that one process would have: in
#: other batches the states round differently, and a sample by their bits is another one.
SCRIPT = """
import json, sys, torch, dynprobe
import torch.distributed as dist
from torch import nn

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
shares, folder = json.loads(sys.argv[1]), sys.argv[2]
torch.manual_seed(0)
model = nn.ModuleDict(
    {"emb": nn.Embedding(11, 5), "rnn": nn.GRU(5, 6, batch_first=True), "fc": nn.Linear(6, 3)}
).double()

def run(ids, labels):
    return model["fc"](model["rnn"](model["emb"](ids))[0][:, -1])

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = model
    def forward(self, input_ids, labels):
        return run(input_ids, labels)

generator = torch.Generator().manual_seed(1)
ids = torch.randint(0, 11, (40, 9), generator=generator)
labels = torch.arange(40) % 3
start = sum(shares[:rank])
NAMES = ["manifold_dimension", "final_states", "token_pushes", "sampled_states"]
names = [*NAMES, "nothing_here"] if "fail" in sys.argv else NAMES
if "fail" in sys.argv:
    @dynprobe.register_analyzer("nothing_here")
    class Fails(dynprobe.StreamingAnalyzer):
        def init(self, meta):
            return 0
        def update(self, acc, chunk):
            class Local(Exception):  # which no other process could read
                pass
            if rank == 1:
                raise Local("only here")
            return acc
        def merge(self, a, b):
            return a
        def finalize(self, acc, ctx):
            return None

with dynprobe.attach(Model()) as probe, probe.accumulate(*names) as running, torch.no_grad():
    mine = slice(start, start + shares[rank])
    for i, l in zip(ids[mine].split(8), labels[mine].split(8)):
        probe.model(i, labels=l)
report = running.report(group=dist.group.WORLD)
torch.save(
    {
        "results": {name: report.results[name, "parts.rnn"].to_dict() for name in NAMES},
        "states": report.views["parts.rnn"].states_seen,
        "failures": {name: str(f) for (name, _), f in report.failures.items()},
    },
    f"{folder}/{rank}.pt",
)
# also by hand, with an accumulator of one's own
from dynprobe.analyzers.token_pushes import TokenSums

one = TokenSums(torch.tensor([rank]), torch.tensor([rank + 1]), torch.ones(1, 2).double() * rank)
both = dynprobe.distributed.merge(dynprobe.analyzers.token_pushes.TokenPushes(), one)
assert both.ids.tolist() == list(range(ranks))
assert both.counts.tolist() == [r + 1 for r in range(ranks)]
dist.destroy_process_group()
"""


def torchrun(ranks: int, *command: str) -> str:
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    start += ["--standalone", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(start, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def results(folder: Path, shares: list[int], *options: str) -> list[dict]:
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    torchrun(len(shares), str(script), str(shares).replace("'", '"'), str(folder), *options)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(len(shares))]


def numbers(value):
    if isinstance(value, dict):
        return [n for key in sorted(value) for n in numbers(value[key])]
    if isinstance(value, list):
        return [n for item in value for n in numbers(item)]
    return [value] if isinstance(value, (int, float)) else []


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds in all of it: the oracle."""
    (found,) = results(tmp_path_factory.mktemp("alone") / "one", [40])
    return found


@pytest.mark.parametrize(
    "shares",
    [pytest.param([32, 8], marks=pytest.mark.slow), [24, 0, 16]],
    ids=["two", "three, one empty"],
)
def test_the_report_of_all_ranks_is_that_of_one_process(tmp_path, alone, shares):
    ranks = results(tmp_path / "some", shares)
    for found in ranks:
        assert found["states"] == 360
        assert found["failures"] == {}
        assert found["results"].keys() == alone["results"].keys()
        for name in found["results"]:
            a, b = numbers(found["results"][name]), numbers(alone["results"][name])
            assert len(a) == len(b) > 0
            assert torch.allclose(torch.tensor(a), torch.tensor(b), rtol=1e-10, atol=1e-10), name
    assert ranks[0]["results"] == ranks[-1]["results"]


@pytest.mark.slow
def test_what_fails_on_one_rank_is_a_failure_of_all(tmp_path):
    for found in results(tmp_path / "some", [24, 16], "fail"):
        assert "on rank 1: Local: only here" in found["failures"]["nothing_here"]
        assert found["results"]["final_states"]["count"] == 40


def test_without_a_process_group():
    gru = torch.nn.GRU(2, 3, batch_first=True)
    with dynprobe.attach(gru) as probe, probe.accumulate("final_states") as running:
        gru(torch.randn(2, 3, 2))
    with pytest.raises(DistributedError, match="torchrun"):
        dynprobe.distributed.gather(1)
    assert not dist.is_initialized()
    assert running.report()["final_states"].count == 2


@pytest.mark.slow
def test_the_example_gives_one_number_on_one_rank_and_on_two(tmp_path):
    path = str(ROOT / "examples" / "distributed.py")
    alone = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    pattern = r"5120 states: participation ratio [\d.]+"
    (one,) = re.findall(pattern, alone.stdout)
    (two,) = re.findall(pattern, torchrun(2, path))
    assert one == two
