"""On a GPU: the same states as on the CPU, the model as it was, analyses and trainings that run."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace

import pytest
import torch
from hf_models import FAMILIES, VOCABULARY
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import dynprobe
from dynprobe.analyzers.fixed_points import FixedPointSearch
from dynprobe.nn import RNNClassifier
from dynprobe.nn.stacked import Stack
from dynprobe.study.gradients import gradients_on
from dynprobe.study.kinds import Kind
from dynprobe.study.members import StackedModels
from dynprobe.study.models import build_model
from dynprobe.study.reference import Reference
from dynprobe.study.reproduce.networks import networks
from dynprobe.study.reproduce.settings import Setting
from dynprobe.study.survey.networks import Network, train_networks
from dynprobe.study.survey.settings import Budget, Topic
from dynprobe.study.train_stack import train_stack
from dynprobe.tasks import Batch, categorical

pytestmark = pytest.mark.requires("cuda")


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch):
    """cuDNN rounds products of recurrent layers to TF32 unless told not to."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def states_of(model, *args):
    """On the CPU, and of each layer where they were kept."""
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model(*args)
    states = {layer.key: probe.recording(layer.key).states for layer in probe.layers}
    assert all(x.device == next(model.parameters()).device for x in states.values())
    return {key: x.cpu() for key, x in states.items()}


LAYERS = {
    "rnn": lambda: nn.RNN(5, 16, 2, batch_first=True),
    "gru": lambda: nn.GRU(5, 16, 2, batch_first=True),
    "gru_bidirectional": lambda: nn.GRU(5, 16, bidirectional=True, batch_first=True),
    "lstm": lambda: nn.LSTM(5, 16, 2, batch_first=True),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_torch(name, packed):
    model = LAYERS[name]()
    x = torch.randn(4, 9, 5)

    def given(device):
        moved = x.to(device)
        if not packed:
            return moved
        return pack_padded_sequence(moved, torch.tensor([9, 7, 4, 1]), batch_first=True)

    here = states_of(model, given("cpu"))
    model.cuda()
    with torch.no_grad():
        plain = model(given("cuda"))[0]
    there = states_of(model, given("cuda"))
    with torch.no_grad():
        again = model(given("cuda"))[0]
    assert here.keys() == there.keys()
    for key, states in here.items():
        torch.testing.assert_close(there[key], states, rtol=0, atol=1e-5, equal_nan=True)
    assert torch.equal(*((plain.data, again.data) if packed else (plain, again)))


@pytest.mark.parametrize("train", [False, True])
def test_outputs_gradients_and_random_state_are_unchanged(train):
    # not the LSTM's own dropout: cuDNN keeps a random state that seeds do not reach
    model = nn.ModuleDict({"lstm": nn.LSTM(5, 16, 2, batch_first=True), "drop": nn.Dropout(0.5)})
    model.cuda().train(train)
    x = torch.randn(4, 9, 5, device="cuda")

    def run():
        torch.cuda.manual_seed(2)
        model.zero_grad()
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            out = model["drop"](model["lstm"](x)[0])
            if train:  # cuDNN has no backward pass in evaluation mode
                out.square().sum().backward()
        grads = [p.grad.clone() for p in model.parameters()] if train else []
        return [out.detach(), *grads, torch.cuda.get_rng_state()]

    plain = run()
    with dynprobe.attach(model) as probe:
        probed = run()
    assert probe.recording("lstm.l0").states.isfinite().all()
    assert all(torch.equal(a, b) for a, b in zip(plain, probed, strict=True))


@pytest.mark.parametrize("kind", Kind)
def test_classifiers_of_the_study(kind):
    model = build_model(kind, 7, 3, hidden_size=32, seed=1).eval()
    tokens = torch.randint(7, (4, 30))
    here = states_of(model, tokens)
    there = states_of(model.cuda(), tokens.cuda())
    for key, states in here.items():
        error = (there[key] - states).norm() / states.norm()
        assert error <= 1e-5, (key, error)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_models_of_transformers(family):
    try:
        model = family.build()
    except ImportError as error:
        pytest.skip(str(error))
    tokens = torch.randint(3, VOCABULARY, (family.batch, 12))
    try:
        here = states_of(model, tokens)
    except ValueError as error:
        if "Triton" not in str(error):
            raise
        pytest.skip("with flash-linear-attention transformers runs it on a GPU alone")
    there = states_of(model.cuda(), tokens.cuda())
    assert here.keys() == there.keys()
    for key, states in here.items():
        error = (there[key] - states).norm() / states.norm()
        assert error <= 1e-4, (key, error)


FLA = {
    "linear_attn": ("LinearAttention", {}),
    "multiscale_retention": ("MultiScaleRetention", {}),
    "gla": ("GatedLinearAttention", {}),
    "delta_net": ("DeltaNet", {"use_short_conv": False}),
    "gated_deltanet": ("GatedDeltaNet", {"use_short_conv": False, "head_dim": 16}),
}


@pytest.mark.requires("fla")
@pytest.mark.parametrize("file", FLA)
def test_last_state_of_a_layer_of_fla_is_the_one_in_its_cache(file):
    """With its real kernels, in bfloat16 as they are used."""
    name, options = FLA[file]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer_cls = getattr(importlib.import_module(f"fla.layers.{file}"), name)
        cache_cls = importlib.import_module("fla.models.utils").Cache
        layer = layer_cls(hidden_size=64, num_heads=2, layer_idx=0, **options)
        layer = layer.cuda().bfloat16().eval()
        x = torch.randn(2, 80, 64, device="cuda", dtype=torch.bfloat16)
        cache = cache_cls()
        with torch.no_grad(), dynprobe.attach(layer) as probe:
            layer(x, past_key_values=cache, use_cache=True)
    kept = cache[0]["recurrent_state"].float().cpu().flatten(1)
    found = probe.recording().states[:, -1].float().cpu()
    assert (found - kept).norm() / kept.norm() <= 2e-2


def test_analyzers():
    model = RNNClassifier(7, 3, hidden_size=16, generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(7, (200, 20))

    def numbers(device):
        moved = model.to(device).eval()
        with dynprobe.attach(moved) as probe, torch.no_grad():
            moved(tokens.to(device))
        report = probe.analyze(
            ["manifold_dimension", FixedPointSearch(n_seeds=16), "readout_geometry"]
        )
        assert not report.failures
        return report["manifold_dimension"].participation_ratio

    assert abs(numbers("cuda") - numbers("cpu")) <= 1e-3


@pytest.mark.parametrize("cell", ["gru", "gru_reset_first", "lstm", "ugrnn", "rnn"])
def test_a_stack_trains_as_on_the_cpu(cell):
    """Over a few steps, until rounding has grown."""
    task = categorical(3, length=12)

    def trained(device):
        stack = Stack.seeded(range(3), len(task.vocabulary), 3, cell=cell, hidden_size=16)
        log = train_stack(stack.to(device), task, steps=5, seeds=range(3), batch_size=32)
        return stack.cpu(), log

    here, there = trained("cpu"), trained("cuda")
    torch.testing.assert_close(
        torch.tensor(there[1].losses), torch.tensor(here[1].losses), rtol=1e-4, atol=1e-4
    )
    for a, b in zip(there[0].parameters(), here[0].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3)


def test_padded_and_whole_batches_of_two_sizes_take_turns():
    """A recorded graph, kernels one by one, and the graph again write into the same gradients."""
    task = categorical(3, length=8, min_length=4)
    whole = categorical(3, length=8)

    def batches():
        stream = torch.Generator().manual_seed(5)
        for source, count in ((whole, 6), (task, 6), (whole, 6), (whole, 4), (whole, 6)):
            batch = source.sample(count, generator=stream)
            # the ids of the task with padding
            tokens = batch.tokens if source is task else batch.tokens + 1
            yield Batch(tokens, batch.lengths, batch.labels)

    def gradients(device):
        stack = Stack.seeded(
            range(2), len(task.vocabulary), 3, hidden_size=8, padding_idx=task.padding_idx
        ).to(device)
        members = StackedModels(stack)
        method = Reference(0.1, 1.0, (1e-3, 0.0), 1.0, 0).method(stack, 6, lambda: 1)
        of = gradients_on(torch.device(device), members, method)
        found = []
        for batch in batches():
            losses = of(members.gather([batch, batch]))
            found += [losses.cpu().clone(), *(p.grad.cpu().clone() for p in stack.parameters())]
            stack.states(torch.zeros(2, 3, 5, dtype=torch.int64, device=device))  # as a check does
        return found

    for there, here in zip(gradients("cuda"), gradients("cpu"), strict=True):
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-6)


def test_networks_of_a_reproduction_come_back_and_go_on_from_their_file(tmp_path):
    setting = Setting("categorical", 3, seeds=(0, 1), units=8, length=8, steps=20)
    stack, log = networks(setting, tmp_path, device="cuda")
    assert stack.device.type == "cpu"
    longer, more = networks(replace(setting, steps=30), tmp_path, device="cuda")
    assert (log.steps, more.steps) == (20, 30)
    assert torch.equal(torch.tensor(more.losses)[:, :20], torch.tensor(log.losses))
    assert not torch.equal(longer.h0, stack.h0)


@pytest.mark.parametrize("model", ["gru", "linear transformer decay", "mamba"])
def test_networks_of_the_survey(model, tmp_path):
    topic = Topic("categorical", 3, length=8)
    wanted = [Network(topic, model, 1e-3, 1e-4, 0, Budget(steps=5, batch=8, hidden=16))]
    (one,) = train_networks(wanted, categorical(3, 8), tmp_path, device="cuda")
    assert one.steps == 5
    assert all(p.device.type == "cpu" for p in one.model.parameters())
    (read,) = train_networks(wanted, categorical(3, 8), tmp_path)
    pairs = zip(one.model.parameters(), read.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
