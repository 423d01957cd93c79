"""Finding layers, and what the forward pass tells about its sequences."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import dynprobe
from dynprobe.errors import (
    AmbiguousNameError,
    JointMapError,
    NoRecurrenceError,
    NothingRecordedError,
    ReadoutError,
    SequenceError,
    StaleWeightsError,
    UnknownNameError,
)


class Classifier(nn.Module):
    """Embedding, one recurrent layer, a readout of the last valid state."""

    def __init__(self, rnn, hidden=6, classes=3, reads="last"):
        super().__init__()
        self.emb = nn.Embedding(11, 5)
        self.rnn = rnn
        self.fc = nn.Linear(hidden, classes)
        self.reads = reads

    def forward(self, input_ids, attention_mask=None, lengths=None, labels=None):
        x = self.emb(input_ids)
        out, hn = self.rnn(x)
        if self.reads == "last":
            return self.fc(out[:, -1])
        if self.reads == "hn":
            return self.fc((hn[0] if isinstance(hn, tuple) else hn)[-1])
        if self.reads == "hc":
            return self.fc(torch.cat([hn[0][-1], hn[1][-1]], -1))
        if self.reads == "all":
            return self.fc(out)
        if self.reads == "mean":
            return self.fc(out.mean(1))
        if self.reads == "both":
            return self.fc(torch.cat([hn[-2], hn[-1]], -1))
        if self.reads == "gather":
            return self.fc(out[torch.arange(len(out)), lengths - 1])
        raise AssertionError(self.reads)


def gru(**options):
    return nn.GRU(5, 6, batch_first=True, **options)


IDS = torch.randint(0, 11, (4, 7), generator=torch.Generator().manual_seed(0))


class TestLayers:
    def model(self):
        return nn.ModuleDict(
            {
                "encoder": nn.ModuleDict({"a": nn.GRU(5, 6), "b": nn.LSTM(5, 6, 2)}),
                "cell": nn.GRUCell(5, 6),
                "head": nn.Linear(6, 2),
            }
        )

    def keys(self, *args, **kwargs):
        return [info.key for info in dynprobe.attach(self.model(), *args, **kwargs).layers]

    def test_all_are_found(self):
        assert self.keys() == ["encoder.a", "encoder.b.l0", "encoder.b.l1", "cell"]

    def test_by_name_glob_list_and_object(self):
        assert self.keys("cell") == ["cell"]
        assert self.keys("encoder.*") == ["encoder.a", "encoder.b.l0", "encoder.b.l1"]
        assert self.keys(["cell", "encoder.a"]) == ["encoder.a", "cell"]
        model = self.model()
        probe = dynprobe.attach(model, model["encoder"]["a"])
        assert [info.key for info in probe.layers] == ["encoder.a"]

    def test_the_model_itself_may_be_the_layer(self):
        probe = dynprobe.attach(nn.LSTM(5, 6))
        assert [info.key for info in probe.layers] == ["lstm"]

    def test_layers_print_how_states_are_obtained(self):
        text = repr(dynprobe.attach(self.model()))
        assert "the output is the state" in text
        assert "c rebuilt on request" in text
        assert "[h: 6, c: 6]" in text

    def test_no_recurrent_layer(self):
        with pytest.raises(NoRecurrenceError, match=r"made of Linear.*register_recurrence"):
            dynprobe.attach(nn.Linear(3, 2))

    def test_unknown_name_lists_near_matches(self):
        with pytest.raises(UnknownNameError, match=r"'encoder\.c'.*Did you mean 'encoder\.[ab]'"):
            self.keys("encoder.c")

    def test_a_module_that_is_no_recurrence(self):
        with pytest.raises(NoRecurrenceError, match="'head' is a Linear"):
            self.keys("head")
        with pytest.raises(NoRecurrenceError, match="Linear given as a layer"):
            self.keys(nn.Linear(2, 2))

    def test_a_name_left_out_where_several_are_possible(self):
        with pytest.raises(AmbiguousNameError, match=r"4 recurrences.*encoder\.b\.l1"):
            dynprobe.attach(self.model()).recording()

    def test_unknown_recording(self):
        with pytest.raises(UnknownNameError, match="Did you mean 'cell'"):
            dynprobe.attach(self.model()).recording("cel")


class TestNothingRecorded:
    def test_before_any_forward(self):
        probe = dynprobe.attach(gru())
        for ask in (probe.recording, probe.analyze, probe.readout):
            with pytest.raises(NothingRecordedError, match=r"Call model\(\.\.\.\)"):
                ask()

    def test_a_forward_that_never_reached_the_layer(self):
        class Bypass(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = gru()

            def forward(self, x):
                return self.rnn.forward(x)  # hooks do not fire

        model = Bypass()
        probe = dynprobe.attach(model)
        model(torch.randn(2, 3, 5))
        with pytest.raises(NothingRecordedError, match=r"1 forward passes, but 'rnn' was never"):
            probe.recording()

    def test_after_detach(self):
        probe = dynprobe.attach(gru())
        probe.detach()
        with pytest.raises(NothingRecordedError, match="The probe is detached"):
            probe.recording()

    def test_clear_forgets(self):
        model = gru()
        probe = dynprobe.attach(model)
        model(torch.randn(2, 3, 5))
        probe.clear()
        with pytest.raises(NothingRecordedError):
            probe.recording()


class TestCalls:
    def test_batches_of_different_size_and_length_are_put_together(self):
        model = gru()
        with dynprobe.attach(model) as probe:
            a, _ = model(torch.randn(2, 3, 5))
            b, _ = model(torch.randn(4, 6, 5))
        rec = probe.recording()
        assert rec.states.shape == (6, 6, 6)
        assert rec.lengths.tolist() == [3, 3, 6, 6, 6, 6]
        assert torch.equal(rec.states[:2, :3], a)
        assert torch.equal(rec.states[2:], b)
        assert rec.flat().shape == (30, 6)
        assert torch.equal(rec.final, torch.cat([a[:, -1], b[:, -1]]))

    def test_the_recording_is_the_same_object_until_the_next_call(self):
        model = gru()
        probe = dynprobe.attach(model)
        model(torch.randn(2, 3, 5))
        rec = probe.recording().annotate(labels=[0, 1])
        assert probe.recording() is rec
        assert probe.recording().labels.tolist() == [0, 1]
        model(torch.randn(2, 3, 5))
        assert len(probe.recording()) == 4

    @pytest.mark.parametrize("detach", [False, True], ids=["identity", "equal_values"])
    @pytest.mark.parametrize("cls", [nn.GRU, nn.LSTM])
    def test_a_call_that_is_given_the_last_state_continues_it(self, cls, detach):
        model = cls(5, 6, batch_first=True)
        x = torch.randn(3, 8, 5)
        with torch.no_grad():
            whole, _ = model(x)
        with dynprobe.attach(model) as probe:
            _, state = model(x[:, :3])
            if detach:
                state = (
                    tuple(s.detach().clone() for s in state)
                    if cls is nn.LSTM
                    else (state.detach().clone())
                )
            model(x[:, 3:], state)
            model(x[:1])  # and a fresh one
        rec = probe.recording()
        assert rec.states.shape[:2] == (4, 8)
        torch.testing.assert_close(rec.part("h")[:3], whole)
        assert any("joined" in note for note in rec.meta.notes)

    def test_continued_packed_calls_follow_each_sequence(self):
        model = gru()
        x = torch.randn(2, 9, 5)
        with dynprobe.attach(model) as probe, torch.no_grad():
            first = pack_padded_sequence(
                x[:, :4], torch.tensor([2, 4]), batch_first=True, enforce_sorted=False
            )
            _, state = model(first)
            model(x[:, 4:], state)
            short, _ = model(torch.cat([x[:1, :2], x[:1, 4:]], 1))
        rec = probe.recording()
        assert rec.lengths.tolist() == [7, 9, 7]
        torch.testing.assert_close(rec.states[0, :7], short[0])

    def test_zeros_are_a_fresh_start(self):
        model = nn.GRU(5, 6, batch_first=True)
        with dynprobe.attach(model) as probe:
            for _ in range(3):
                model(torch.randn(2, 4, 5), torch.zeros(1, 2, 6))
        assert probe.recording().states.shape == (6, 4, 6)

    def test_a_reordered_state_raises(self):
        model = gru()
        with dynprobe.attach(model):
            _, state = model(torch.randn(3, 4, 5))
            with pytest.raises(SequenceError, match="in another order"):
                model(torch.randn(3, 4, 5), state[:, [2, 0, 1]])
            _, state = model(torch.randn(3, 4, 5))
            with pytest.raises(SequenceError, match="some of them only"):
                model(torch.randn(2, 4, 5), state[:, :2])

    def test_forced_sequence(self):
        model = gru()
        with dynprobe.attach(model) as probe:
            for _ in range(2):
                with probe.sequence():
                    _, state = model(torch.randn(2, 3, 5))
                    model(torch.randn(2, 3, 5), state * 0.5)
            with probe.sequence():
                model(torch.randn(2, 3, 5))
                with pytest.raises(SequenceError, match="from 2 to 4 sequences"):
                    model(torch.randn(4, 3, 5))
        assert probe.recording().lengths.tolist()[:4] == [6, 6, 6, 6]

    @pytest.mark.parametrize(
        ("cell", "width"), [(nn.RNNCell(5, 6), 6), (nn.GRUCell(5, 6), 6), (nn.LSTMCell(5, 6), 12)]
    )
    def test_cells_in_loops(self, cell, width):
        x = torch.randn(3, 7, 5)
        with dynprobe.attach(cell) as probe:
            for batch in (x, x[:2, :4]):
                state = None
                for step in batch.unbind(1):
                    state = cell(step, state)
        rec = probe.recording()
        assert rec.states.shape == (5, 7, width)
        assert rec.lengths.tolist() == [7, 7, 7, 4, 4]
        expected = torch.cat(state, -1) if isinstance(state, tuple) else state
        assert torch.equal(rec.final[3:], expected)
        rollout = probe.recurrence().rollout(rec.initial, rec.inputs)
        torch.testing.assert_close(rollout[:3], rec.states[:3])

    def test_given_initial_state_is_recorded(self):
        model = gru()
        h0 = torch.randn(1, 2, 6)
        with dynprobe.attach(model) as probe:
            model(torch.randn(2, 3, 5), h0)
        assert torch.equal(probe.recording().initial, h0[0])
        assert torch.equal(probe.recording().before[:, 0], h0[0])


class TestLengths:
    def record(self, **kwargs):
        model = Classifier(gru(), reads="last")
        with dynprobe.attach(model) as probe:
            model(IDS, **kwargs)
        return probe.recording(), model

    def test_right_padding_from_an_attention_mask(self):
        mask = torch.tensor([[1] * n + [0] * (7 - n) for n in (7, 3, 5, 1)])
        rec, _ = self.record(attention_mask=mask)
        assert rec.lengths.tolist() == [7, 3, 5, 1]
        assert torch.equal(rec.mask.int(), mask.int())
        assert rec.states[~rec.mask].abs().sum() == 0
        assert len(rec.flat()) == 16
        assert "lengths: attention mask" in rec.meta.notes

    def test_left_padding_moves_the_valid_steps_to_the_front(self):
        mask = torch.tensor([[0] * (7 - n) + [1] * n for n in (7, 3, 5, 1)])
        rec, model = self.record(attention_mask=mask)
        out, _ = model.rnn(model.emb(IDS))
        assert rec.lengths.tolist() == [7, 3, 5, 1]
        torch.testing.assert_close(rec.states[1, :3], out[1, 4:])
        torch.testing.assert_close(rec.initial[1], out[1, 3])  # the padding has moved the state
        assert torch.equal(rec.tokens[1, :3], IDS[1, 4:])
        recurrence = dynprobe.attach(model.rnn).recurrence()
        rollout = recurrence.rollout(rec.initial, rec.inputs)
        torch.testing.assert_close(rollout[1, :3], rec.states[1, :3])

    def test_a_mask_with_a_hole(self):
        mask = torch.ones(4, 7)
        mask[2, 3] = 0
        with pytest.raises(SequenceError, match="sequence 2 has a hole"):
            self.record(attention_mask=mask)

    def test_lengths_argument_and_annotation(self):
        rec, _ = self.record(lengths=torch.tensor([7, 3, 5, 1]))
        assert rec.lengths.tolist() == [7, 3, 5, 1]
        rec, _ = self.record()
        rec.annotate(lengths=[7, 3, 5, 1])
        assert rec.states[1, 3:].abs().sum() == 0

    def test_another_argument_named(self):
        class Other(Classifier):
            def forward(self, input_ids, n):
                return super().forward(input_ids)

        model = Other(gru())
        with dynprobe.attach(model, lengths="n") as probe:
            model(IDS, [7, 3, 5, 1])
        assert probe.recording().lengths.tolist() == [7, 3, 5, 1]

    def test_reverse_direction_follows_the_order_it_ran_in(self):
        model = Classifier(gru(bidirectional=True), hidden=12)
        mask = torch.tensor([[1] * n + [0] * (7 - n) for n in (7, 3, 5, 1)])
        with dynprobe.attach(model) as probe, torch.no_grad():
            model(IDS, attention_mask=mask)
        with torch.no_grad():
            out = model.rnn(model.emb(IDS))[0][..., 6:]
        rec = probe.recording("rnn.l0.reverse")
        torch.testing.assert_close(rec.states[1, :3], out[1, :3].flip(0))
        assert torch.equal(rec.tokens[1, :3], IDS[1, :3].flip(0))
        torch.testing.assert_close(rec.initial[1], out[1, 3])  # it came through the padding

    def test_lengths_that_do_not_fit_are_not_used_and_it_is_said(self):
        rec, _ = self.record(lengths=torch.tensor([9, 3, 5, 1]))
        assert rec.lengths.tolist() == [7, 7, 7, 7]
        assert any("do not fit" in note for note in rec.meta.notes)


class TestTokens:
    def test_ids_of_the_embedding_that_feeds_the_layer(self):
        model = Classifier(gru())
        with dynprobe.attach(model, vocabulary=[f"w{i}" for i in range(11)]) as probe:
            model(IDS)
        rec = probe.recording()
        assert torch.equal(rec.tokens, IDS)
        assert rec.meta.vocabulary[3] == "w3"

    def test_time_first(self):
        model = Classifier(nn.GRU(5, 6))
        with dynprobe.attach(model) as probe:
            model(IDS.T)
        assert torch.equal(probe.recording().tokens, IDS)

    def test_two_embeddings_are_told_apart_by_what_feeds_or_by_input_ids_or_left_open(self):
        class Two(nn.Module):
            def __init__(self, summed):
                super().__init__()
                self.words = nn.Embedding(11, 5)
                self.tags = nn.Embedding(11, 5)
                self.rnn = gru()
                self.summed = summed

            def forward(self, ids, tags):
                other = self.tags(tags)
                x = self.words(ids)
                return self.rnn(x + other if self.summed else x)

        tags = torch.zeros_like(IDS)
        model = Two(summed=False)
        with dynprobe.attach(model) as probe:
            model(IDS, tags)
        assert torch.equal(probe.recording().tokens, IDS)
        model = Two(summed=True)
        with dynprobe.attach(model) as probe:
            model(IDS, tags)
        assert probe.recording().tokens is None
        assert any("attach(..., tokens=)" in note for note in probe.recording().meta.notes)
        with dynprobe.attach(model, tokens="words") as probe:
            model(IDS, tags)
        assert torch.equal(probe.recording().tokens, IDS)

    def test_unknown_embedding(self):
        with pytest.raises(UnknownNameError, match="Did you mean 'emb'"):
            dynprobe.attach(Classifier(gru()), tokens="embb")

    def test_labels_argument(self):
        model = Classifier(gru())
        with dynprobe.attach(model) as probe:
            model(IDS, labels=torch.tensor([0, 1, 2, 0]))
            model(IDS, labels=torch.tensor([2, 1, 2, 0]))
        assert probe.recording().labels.tolist() == [0, 1, 2, 0, 2, 1, 2, 0]

    def test_one_embedding_call_per_step(self):
        class Loop(nn.Module):
            def __init__(self):
                super().__init__()
                self.emb = nn.Embedding(11, 5)
                self.cell = nn.GRUCell(5, 6)
                self.fc = nn.Linear(6, 3)

            def forward(self, ids):
                h, logits = None, []
                for t in range(ids.shape[1]):
                    h = self.cell(self.emb(ids[:, t]), h)
                    logits.append(self.fc(h))
                return torch.stack(logits, 1)

        model = Loop()
        with dynprobe.attach(model) as probe:
            out = model(IDS)
        rec = probe.recording()
        assert torch.equal(rec.tokens, IDS)
        assert torch.equal(rec.logits, out)
        assert torch.equal(rec.final_logits, out[:, -1])


class TestReadout:
    @pytest.mark.parametrize(
        ("rnn", "reads", "hidden", "parts"),
        [
            ("gru", "last", 6, ["h"]),
            ("gru", "hn", 6, ["h"]),
            ("gru", "all", 6, ["h"]),
            ("lstm", "last", 6, ["h"]),
            ("lstm", "hc", 12, ["h", "c"]),
        ],
    )
    def test_the_linear_that_is_fed_by_the_state_is_found(self, rnn, reads, hidden, parts):
        cls = {"gru": nn.GRU, "lstm": nn.LSTM}[rnn]
        model = Classifier(cls(5, 6, batch_first=True), hidden, reads=reads)
        with dynprobe.attach(model) as probe:
            out = model(IDS)
        readout, rec = probe.readout(), probe.recording()
        assert readout.name == "fc"
        assert readout.weight.shape == (3, rec.states.shape[-1])
        if parts == ["h"] and rnn == "lstm":
            assert readout.weight[:, 6:].abs().sum() == 0
        assert torch.equal(rec.logits, out)
        torch.testing.assert_close(readout(rec.final), rec.final_logits)

    def test_read_at_the_last_valid_step(self):
        model = Classifier(gru(), reads="gather")
        lengths = torch.tensor([7, 3, 5, 1])
        with dynprobe.attach(model) as probe:
            model(IDS, lengths=lengths)
        rec = probe.recording()
        torch.testing.assert_close(probe.readout()(rec.final), rec.logits)

    @pytest.mark.parametrize(
        ("reads", "options", "hidden", "reason"),
        [("mean", {}, 6, "mean of the states"), ("both", {"bidirectional": True}, 12, "both dire")],
    )
    def test_what_is_not_linear_in_the_state_is_said_so(self, reads, options, hidden, reason):
        model = Classifier(gru(**options), hidden, reads=reads)
        with dynprobe.attach(model) as probe:
            model(IDS)
        key = "rnn" if not options else "rnn.l0"
        with pytest.raises(ReadoutError, match=reason):
            probe.readout(key)

    def test_an_mlp_is_not_linear(self):
        class Mlp(Classifier):
            def forward(self, ids):
                return self.fc(torch.relu(self.rnn(self.emb(ids))[0][:, -1]))

        model = Mlp(gru())
        with dynprobe.attach(model) as probe:
            model(IDS)
        with pytest.raises(ReadoutError, match="something in between"):
            probe.readout()

    def test_several_candidates_are_listed(self):
        class Two(Classifier):
            def __init__(self):
                super().__init__(gru())
                self.other = nn.Linear(6, 2)

            def forward(self, ids):
                h = self.rnn(self.emb(ids))[0][:, -1]
                return self.fc(h), self.other(h)

        model = Two()
        with dynprobe.attach(model) as probe:
            model(IDS)
        with pytest.raises(ReadoutError, match=r"fc, other.*readout="):
            probe.readout()
        with dynprobe.attach(model, readout="other") as probe:
            out = model(IDS)
        assert probe.readout().n_classes == 2
        assert torch.equal(probe.recording().logits, out[1])

    def test_given_as_weight_and_bias(self):
        weight, bias = torch.randn(4, 6), torch.randn(4)
        model = gru()
        with dynprobe.attach(model, readout=(weight, bias)) as probe:
            model(torch.randn(2, 3, 5))
        assert torch.equal(probe.readout().weight, weight)

    def test_wrong_width(self):
        with pytest.raises(ReadoutError, match=r"weight \(4, 7\), but the state of 'gru' has h: 6"):
            dynprobe.attach(gru(), readout=(torch.randn(4, 7), None))
        model = Classifier(gru())
        model.wrong = nn.Linear(9, 2)
        with pytest.raises(ReadoutError, match="'wrong' has weight"):
            dynprobe.attach(model, readout="wrong")

    def test_bias_of_the_wrong_length(self):
        with pytest.raises(ReadoutError, match="one number per class"):
            dynprobe.attach(gru(), readout=(torch.randn(4, 6), torch.randn(3)))

    def test_a_readout_that_is_no_linear_or_does_not_exist(self):
        model = Classifier(gru())
        with pytest.raises(ReadoutError, match="is a GRU"):
            dynprobe.attach(model, readout="rnn")
        with pytest.raises(UnknownNameError, match="Did you mean 'fc'"):
            dynprobe.attach(model, readout="fcc")


class TestSeveralRunsInOneForward:
    """A shared encoder: the same layer run on two inputs in one forward pass."""

    class Twin(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(11, 5)
            self.rnn = gru()
            self.fc = nn.Linear(6, 3)

        def forward(self, a, b, lengths=None):
            h = self.rnn(self.emb(a))[0][:, -1]
            k = self.rnn(self.emb(b))[0][:, -1]
            return self.fc(k), self.fc(h)

    def test_each_run_keeps_its_own_tokens_and_logits(self):
        model = self.Twin()
        other = IDS.flip(1)[:, :5]
        with dynprobe.attach(model) as probe:
            of_b, of_a = model(IDS, other, lengths=torch.tensor([7, 3, 5, 1]))
        rec = probe.recording()
        assert rec.states.shape == (8, 7, 6)
        assert torch.equal(rec.tokens[:4], IDS)
        assert torch.equal(rec.tokens[4:, :5], other)
        assert torch.equal(rec.logits, torch.cat([of_a, of_b]))
        torch.testing.assert_close(probe.readout()(rec.final), rec.logits)
        assert rec.lengths.tolist() == [7] * 4 + [5] * 4
        assert any("several runs" in note for note in rec.meta.notes)

    def test_packed_calls_that_carry_the_state_on(self):
        model = gru()
        la, lb = torch.tensor([3, 5, 2]), torch.tensor([5, 3, 3])
        a, b = torch.randn(3, 5, 5), torch.randn(3, 5, 5)

        def pack(x, n):
            return pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False)

        class Conditional(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = model

            def forward(self, a, b):
                _, h = self.rnn(a)
                return self.rnn(b, h)[0]

        with dynprobe.attach(Conditional()) as probe:
            probe.model(pack(a, la), pack(b, lb))
        rec = probe.recording()
        assert rec.lengths.tolist() == [8, 8, 5]
        rollout = probe.recurrence().rollout(rec.initial, rec.inputs)
        torch.testing.assert_close(rollout * rec.mask[..., None], rec.states)


class TestNeverInTheWay:
    """Whatever a hook meets, the observed forward goes on, and the truth is told when asked."""

    def test_nested_tensors_in_a_transformer(self):
        class Hybrid(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = nn.GRU(5, 8, batch_first=True)
                layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
                self.enc = nn.TransformerEncoder(layer, 1)

            def forward(self, x, padding):
                return self.enc(self.rnn(x)[0], src_key_padding_mask=padding)

        model = Hybrid().eval()
        x, padding = torch.randn(2, 4, 5), torch.tensor([[False] * 4, [False, False, True, True]])
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's own, of nested tensors
            plain = model(x, padding)
            with dynprobe.attach(model) as probe:
                probed = model(x, padding)
        assert torch.equal(plain, probed)
        assert probe.recording().states.shape == (2, 4, 8)

    def test_a_layer_of_another_convention(self):
        class Odd(nn.GRU):
            def forward(self, x):
                return super().forward(x)[0]

        model = Odd(5, 6, batch_first=True)
        with dynprobe.attach(model) as probe:
            assert model(torch.randn(3, 4, 5)).shape == (3, 4, 6)
        with pytest.raises(dynprobe.DynprobeError, match="could not be read.*ValueError"):
            probe.recording()

    def test_a_model_made_in_inference_mode(self):
        with torch.inference_mode():
            model = nn.LSTM(5, 6, batch_first=True)
            with dynprobe.attach(model) as probe:
                model(torch.randn(2, 3, 5))
        assert probe.recording().states.shape == (2, 3, 12)

    def test_a_reset_of_some_episodes_is_a_new_start(self):
        cell = nn.GRUCell(5, 6)
        with dynprobe.attach(cell) as probe:
            h = cell(torch.randn(3, 5))
            h = cell(torch.randn(3, 5), h * torch.tensor([[1.0], [0.0], [1.0]]))
            h = cell(torch.randn(3, 5), h)
            h.zero_()  # the very tensor, but no longer the state
            cell(torch.randn(3, 5), h)
        rec = probe.recording()
        assert rec.lengths.tolist() == [1] * 3 + [2] * 3 + [1] * 3
        rollout = probe.recurrence().rollout(rec.initial, rec.inputs)
        torch.testing.assert_close(rollout * rec.mask[..., None], rec.states)

    def test_an_interrupt_inside_a_forward_does_not_reach_the_next_one(self):
        class Stops(Classifier):
            stop = False

            def forward(self, input_ids, attention_mask=None, labels=None):
                if self.stop:
                    raise KeyboardInterrupt
                return super().forward(input_ids)

        model = Stops(gru())
        with dynprobe.attach(model) as probe:
            model.stop = True
            with pytest.raises(KeyboardInterrupt):
                model(IDS, labels=torch.zeros(4, dtype=torch.int64))
            model.stop = False
            model(IDS, labels=torch.ones(4, dtype=torch.int64))
        assert probe.recording().labels.tolist() == [1] * 4

    def test_checkpointing_is_recorded_once(self):
        from torch.utils.checkpoint import checkpoint

        class Block(Classifier):
            def forward(self, ids):
                return checkpoint(super().forward, ids, use_reentrant=False)

        model = Block(gru())
        with dynprobe.attach(model) as probe:
            model(IDS).sum().backward()
        assert len(probe.recording()) == 4

    def test_threads_keep_their_own(self):
        model = Classifier(gru()).eval()
        ids = torch.randint(0, 11, (30, 6, 7))
        with dynprobe.attach(model) as probe, torch.no_grad():

            def work(k):
                for i in range(k, 30, 3):
                    model(ids[i], labels=torch.full((6,), i))

            threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        rec = probe.recording()
        assert len(rec) == 180
        torch.testing.assert_close(probe.readout()(rec.final), rec.logits)
        for i in range(30):
            rows = rec.labels == i
            assert torch.equal(rec.tokens[rows], ids[i])


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 8)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.rnn(x)[0])


class TestReadoutIsTheOutput:
    def test_the_first_layer_of_an_mlp_is_no_readout(self):
        model = Classifier(gru())
        model.fc = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))
        with dynprobe.attach(model) as probe:
            model(IDS)
        with pytest.raises(ReadoutError, match=r"fc\.0 is fed by the state, but its output is not"):
            probe.readout()
        assert probe.recording().logits is None

    def test_an_attention_scorer_beside_the_readout(self):
        class Attends(Classifier):
            def __init__(self):
                super().__init__(gru())
                self.score = nn.Linear(6, 1)

            def forward(self, ids):
                out, _ = self.rnn(self.emb(ids))
                self.weights = self.score(out).softmax(1)
                return self.fc(out[:, -1])

        model = Attends()
        with dynprobe.attach(model) as probe:
            model(IDS)
        assert probe.readout().name == "fc"

    @pytest.mark.parametrize("squash", ["log_softmax", "softmax", "sigmoid", "squeeze", "loss"])
    def test_what_the_model_makes_of_its_logits(self, squash):
        class Squashes(Classifier):
            def forward(self, ids):
                logits = super().forward(ids)
                return {
                    "log_softmax": lambda: {"logp": logits.log_softmax(-1)},
                    "softmax": lambda: logits.softmax(-1),
                    "sigmoid": lambda: (None, logits.sigmoid()),
                    "squeeze": lambda: logits.squeeze(-1),
                    "loss": lambda: logits.square().mean(),
                }[squash]()

        model = Squashes(gru())
        with dynprobe.attach(model) as probe:
            model(IDS)
        assert probe.readout().name == "fc"

    def test_time_first_with_as_many_sequences_as_steps(self):
        model = Tagger()
        with dynprobe.attach(model) as probe:
            model(torch.randn(5, 5, 4))
        rec = probe.recording()
        torch.testing.assert_close(probe.readout()(rec.states), rec.logits)

    def test_unbatched(self):
        model = Tagger()
        with dynprobe.attach(model) as probe:
            model(torch.randn(6, 4))
        rec = probe.recording()
        torch.testing.assert_close(probe.readout()(rec.states), rec.logits)


class TestWhatFedTheLayer:
    def record(self, forward, **kwargs):
        class Model(Classifier):
            pass

        Model.forward = forward
        model = Model(gru())
        with dynprobe.attach(model) as probe:
            model(IDS, **kwargs)
        return probe.recording()

    def test_shifted_flipped_and_sorted_tokens_are_not_guessed(self):
        def shifted(self, input_ids):
            return self.rnn(self.emb(input_ids)[:, 1:])[0]

        def flipped(self, input_ids):
            return self.rnn(self.emb(input_ids).flip(1))[0]

        def sorted_(self, input_ids, labels=None):
            order = torch.tensor([2, 0, 3, 1])
            lengths = torch.tensor([7, 6, 4, 2])
            x = self.emb(input_ids)[order]
            return self.rnn(pack_padded_sequence(x, lengths, batch_first=True))[0]

        for forward, kwargs in (
            (shifted, {}),
            (flipped, {}),
            (sorted_, {"labels": torch.arange(4)}),
        ):
            rec = self.record(forward, **kwargs)
            assert rec.tokens is None, forward
            assert rec.labels is None
            assert any("in another order" in note for note in rec.meta.notes)

    def test_packed_tokens_are_verified(self):
        lengths = torch.tensor([3, 7, 2, 5])

        def forward(self, input_ids, labels=None):
            x = self.emb(input_ids)
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.rnn(packed)[0]

        rec = self.record(forward, labels=torch.arange(4))
        assert torch.equal(rec.tokens[rec.mask], IDS[rec.mask])
        assert rec.labels.tolist() == [0, 1, 2, 3]

    def test_a_trimmed_mask(self):
        def forward(self, input_ids, attention_mask):
            keep = int(attention_mask.sum(1).max())
            return self.rnn(self.emb(input_ids[:, :keep]))[0]

        mask = torch.tensor([[1] * n + [0] * (7 - n) for n in (4, 3, 1, 2)])
        assert self.record(forward, attention_mask=mask).lengths.tolist() == [4, 3, 1, 2]

    def test_the_mask_of_the_encoder_is_not_the_decoders(self):
        class Seq2Seq(nn.Module):
            def __init__(self):
                super().__init__()
                self.emb = nn.Embedding(11, 5)
                self.enc = gru()
                self.dec = gru()

            def forward(self, input_ids, target, attention_mask):
                _, h = self.enc(self.emb(input_ids))
                return self.dec(self.emb(target), h)[0]

        model = Seq2Seq()
        mask = torch.tensor([[1] * n + [0] * (7 - n) for n in (7, 3, 2, 5)])
        for width in (4, 7):
            target = IDS.flip(0)[:, :width]
            with dynprobe.attach(model) as probe:
                model(IDS, target, attention_mask=mask)
            assert probe.recording("enc").lengths.tolist() == [7, 3, 2, 5]
            decoder = probe.recording("dec")
            assert decoder.lengths.tolist() == [width] * 4
            assert torch.equal(decoder.tokens, target)

    def test_keyword_arguments_in_any_order(self):
        cell = nn.GRUCell(5, 5)
        x, h = torch.randn(2, 5), torch.randn(2, 5)
        with dynprobe.attach(cell) as probe:
            cell(hx=h, input=x)
        rec = probe.recording()
        assert torch.equal(rec.inputs[:, 0], x)
        assert torch.equal(rec.initial, h)


class TestChangedWeights:
    @pytest.mark.parametrize("change", ["fused", "data"])
    def test_changes_that_leave_no_trace_are_seen_in_the_states(self, change):
        model = nn.LSTM(5, 6, 2, batch_first=True)
        probe = dynprobe.attach(model)
        out, _ = model(torch.randn(3, 4, 5))
        if change == "fused":
            out.sum().backward()
            torch.optim.Adam(model.parameters(), lr=0.1, fused=True).step()
        else:
            model.weight_hh_l0.data.clamp_(-0.1, 0.1)
            model.weight_hh_l1.data.clamp_(-0.1, 0.1)
        for key in ("lstm.l0", "lstm.l1"):
            with pytest.raises(StaleWeightsError, match="materialize"):
                probe.recording(key)
        probe._tracer.remove()

    def test_analysing_old_states_with_new_weights_warns(self):
        model = gru()
        with dynprobe.attach(model) as probe:
            model(torch.randn(4, 6, 5))
        with torch.no_grad():
            model.weight_hh_l0.mul_(0.5)
        with pytest.warns(UserWarning, match="changed since its states were recorded"):
            probe.analyze("manifold_dimension")


def test_a_layer_that_is_never_called_does_not_take_the_others_down():
    model = nn.ModuleDict({"used": gru(), "unused": gru()})
    probe = dynprobe.attach(model)
    model["used"](torch.randn(4, 6, 5))
    report = probe.analyze("manifold_dimension")
    assert report.layers == ["used"]
    assert "Never called: unused" in str(report)


def test_an_empty_batch_among_others():
    model = Classifier(gru())
    with dynprobe.attach(model) as probe:
        model(IDS, lengths=torch.tensor([7, 3, 5, 1]))
        model(IDS[:0], lengths=torch.zeros(0, dtype=torch.int64))
    assert probe.recording().lengths.tolist() == [7, 3, 5, 1]


class MaskedLoop(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(5, 6)

    def forward(self, x, mask):
        h = torch.zeros(len(x), 6)
        for t in range(x.shape[1]):
            h = torch.where(mask[:, t, None], self.cell(x[:, t], h), h)
        return h


def test_a_masked_loop_is_cut_with_a_warning_and_sequence_joins_it():
    model = MaskedLoop()
    x = torch.randn(3, 6, 5)
    mask = torch.arange(6) < torch.tensor([6, 4, 2])[:, None]
    with dynprobe.attach(model) as probe:
        model(x, mask)
    with pytest.warns(UserWarning, match=r"probe\.sequence"):
        probe.recording()
    with dynprobe.attach(model, lengths="mask") as probe, probe.sequence():
        final = model(x, mask)
    rec = probe.recording()
    assert rec.lengths.tolist() == [6, 4, 2]
    torch.testing.assert_close(rec.final, final)


def test_wrappers():
    model = Classifier(gru())
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        with dynprobe.attach(wrapped) as probe:
            wrapped(IDS, labels=torch.arange(4))
    finally:
        torch.distributed.destroy_process_group()
    rec = probe.recording("rnn")  # the model's own names
    assert torch.equal(rec.tokens, IDS)
    assert rec.labels.tolist() == [0, 1, 2, 3]
    with pytest.raises(NoRecurrenceError, match=r"model\.module"):
        dynprobe.attach(nn.DataParallel(model))


def test_padding_that_holds_nan_stays_out():
    model = gru()
    x = torch.randn(3, 6, 5)
    x[1, 3:] = torch.nan
    x[2, 1:] = torch.nan

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = model

        def forward(self, x, lengths):
            return self.rnn(x)[0]

    with dynprobe.attach(Masked()) as probe:
        probe.model(x, torch.tensor([6, 3, 1]))
    rec = probe.recording()
    assert rec.states.isfinite().all()
    assert rec.inputs.isfinite().all()
    rec.check_finite()


class EmbeddedOnce(nn.Module):
    """A loop over the steps of one embedding call, in order or backwards."""

    def __init__(self, backwards=False):
        super().__init__()
        self.emb = nn.Embedding(11, 5)
        self.cell = nn.GRUCell(5, 6)
        self.fc = nn.Linear(6, 3)
        self.backwards = backwards

    def forward(self, ids):
        h = None
        steps = self.emb(ids).unbind(1)
        for x in reversed(steps) if self.backwards else steps:
            h = self.cell(x, h)
        return self.fc(h)


def test_a_loop_over_one_embedding_call_keeps_its_tokens():
    model = EmbeddedOnce()
    with dynprobe.attach(model) as probe:
        model(IDS)
    assert torch.equal(probe.recording().tokens, IDS)
    model = EmbeddedOnce(backwards=True)
    with dynprobe.attach(model) as probe:
        model(IDS)
    assert probe.recording().tokens is None


def test_chunks_of_one_embedding_call_keep_their_tokens():
    class Chunks(Classifier):
        def forward(self, ids):
            x = self.emb(ids)
            first = pack_padded_sequence(x[:, :4], torch.tensor([4] * 4), batch_first=True)
            _, h = self.rnn(first)
            return self.rnn(x[:, 4:], h)[0]

    model = Chunks(gru())
    with dynprobe.attach(model) as probe:
        model(IDS)
    rec = probe.recording()
    assert rec.lengths.tolist() == [7] * 4
    assert torch.equal(rec.tokens, IDS)


# -- single recurrences of a module ------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "keys"),
    [
        ("rnn", ["rnn.l0.reverse", "rnn.l0", "rnn.l1.reverse", "rnn.l1"]),
        ("rnn.l0", ["rnn.l0"]),
        ("rnn.l1.reverse", ["rnn.l1.reverse"]),
        (["rnn.l1", "rnn.l0"], ["rnn.l0", "rnn.l1"]),
        ("rnn.*", ["rnn.l0.reverse", "rnn.l0", "rnn.l1.reverse", "rnn.l1"]),
        ("*.reverse", ["rnn.l0.reverse", "rnn.l1.reverse"]),
        ("*.l?", ["rnn.l0", "rnn.l1"]),
        (["cell", "rnn.l1"], ["rnn.l1", "cell"]),
        ("*", ["rnn.l0.reverse", "rnn.l0", "rnn.l1.reverse", "rnn.l1", "cell"]),
    ],
)
def test_keys_and_globs_over_keys_choose_single_recurrences(chosen, keys):
    model = nn.Module()
    model.rnn = gru(num_layers=2, bidirectional=True)
    model.cell = nn.GRUCell(5, 6)
    probe = dynprobe.attach(model, layers=chosen)
    assert [info.key for info in probe.layers] == keys


@pytest.mark.parametrize("key", ["rnn.l0", "rnn.l1"])
def test_only_the_chosen_recurrence_is_recorded_and_analysed(key):
    model = Classifier(gru(num_layers=2))
    with dynprobe.attach(model) as everything, dynprobe.attach(model, layers=key) as probe:
        model(IDS)
    expected = everything.recording(key)
    assert torch.equal(probe.recording().states, expected.states)
    assert torch.equal(probe.recording(key).inputs, expected.inputs)
    report = probe.analyze("manifold_dimension")
    assert list(report.results) == [("manifold_dimension", key)]
    other = {"rnn.l0": "rnn.l1", "rnn.l1": "rnn.l0"}[key]
    with pytest.raises(UnknownNameError, match=f"Did you mean '{key}'"):
        probe.recording(other)


def test_the_bare_name_and_the_readout_are_those_of_the_top_layer():
    model = Classifier(gru(num_layers=2))
    with dynprobe.attach(model, layers="rnn.l1") as top:
        model(IDS)
    assert top.recording("rnn").layer == "rnn.l1"
    assert top.readout().name == "fc"
    for readout in (None, "fc", (torch.zeros(3, 6), None)):
        with dynprobe.attach(model, layers="rnn.l0", readout=readout) as lower:
            model(IDS)
        with pytest.raises(UnknownNameError, match="'rnn.l1'"):
            lower.recording("rnn")
    assert lower.readout().weight.shape == (3, 6)


def test_a_key_that_is_not_there_is_named_with_its_neighbours():
    with pytest.raises(UnknownNameError, match=r"'rnn\.l2'.*'rnn\.l"):
        dynprobe.attach(Classifier(gru(num_layers=2)), layers="rnn.l2")


# -- the joint map -------------------------------------------------------------------------------


class TwoLayers(nn.Module):
    """Two cells in a loop, the second fed back into the first: no library can see the joint map."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.GRUCell(5 + 3, 4), nn.RNNCell(4, 3)

    def step(self, state, x):
        h, g = state[..., :4], state[..., 4:]
        h = self.a(torch.cat([x, g], -1), h)
        return torch.cat([h, self.b(h, g)], -1)

    def forward(self, x):
        state = x.new_zeros(len(x), 7)
        states = []
        for u in x.unbind(1):
            state = self.step(state, u)
            states.append(state)
        return torch.stack(states, 1)


def test_all_of_a_custom_model_needs_its_step():
    model = TwoLayers()
    with dynprobe.attach(model) as probe, pytest.raises(JointMapError, match=r"a, b.*step=F"):
        probe.recurrence("all")
    joint = probe.recurrence("all", step=model.step, input_dim=5)
    assert joint.layout.names == ("a.h", "b.h")
    assert (joint.state_dim, joint.input_dim, joint.dtype) == (7, 5, torch.float32)
    x = torch.randn(3, 6, 5)
    assert torch.allclose(joint.rollout(torch.zeros(3, 7), x), model(x))
    own = dynprobe.Layout.of(h=4, g=3)
    assert probe.recurrence("all", step=model.step, state_dim=own, input_dim=5).layout == own
    with pytest.raises(JointMapError, match="input_dim="):
        probe.recurrence("all", step=model.step)


def test_all_is_the_stack_of_the_one_layer_also_where_a_part_of_it_was_chosen():
    model = Classifier(nn.LSTM(5, 6, 2, batch_first=True))
    probe = dynprobe.attach(model, layers="rnn.l0")
    assert probe.recurrence("all").layout.names == ("l0.h", "l0.c", "l1.h", "l1.c")


def test_all_of_one_cell_is_its_map():
    assert dynprobe.attach(nn.GRUCell(5, 6)).recurrence("all").layout.names == ("h",)


def test_a_layer_called_all_goes_first():
    model = nn.Module()
    model.add_module("all", nn.GRU(5, 6))
    model.other = nn.GRU(6, 2)
    probe = dynprobe.attach(model)
    assert probe.recurrence("all").state_dim == 6
    with pytest.raises(JointMapError, match="step=, input_dim="):
        probe.recurrence("all", step=torch.add, input_dim=5)


def test_options_of_a_joint_map_go_with_all_only():
    probe = dynprobe.attach(gru())
    with pytest.raises(JointMapError, match=r"context= make.*\"all\""):
        probe.recurrence("gru", context=())
    with pytest.raises(JointMapError, match="transformers"):
        probe.recurrence("all", context=())
