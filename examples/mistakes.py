"""Ordinary mistakes, made on purpose, and what dynprobe says to them."""

import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

import dynprobe


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 8, padding_idx=0)
        self.rnn = nn.GRU(8, 16, batch_first=True)
        self.classifier = nn.Linear(16, 3)

    def forward(self, tokens):
        return self.classifier(self.rnn(self.embedding(tokens))[0][:, -1])


def attempt(what, mistake):
    """Make it, and print what comes back."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            mistake()
        except Exception as error:
            print(f"\n{what}\n  {type(error).__name__}: {error}")
    for warning in said:
        print(f"\n{what}\n  {warning.category.__name__}: {warning.message}")


model = Classifier()
tokens = torch.randint(1, 50, (4, 10))

attempt("a wrong layer name", lambda: dynprobe.attach(model, layers="rmn"))

probe = dynprobe.attach(model)
attempt("no forward yet", lambda: probe.recording())


elsewhere = nn.GRU(8, 16, batch_first=True).to("meta")  # "cuda" where there is one
other = dynprobe.attach(elsewhere)
attempt("a model on another device", lambda: elsewhere(torch.randn(4, 10, 8)))
attempt("and then the probe is asked", lambda: other.recording())


def padded():
    batch = tokens.clone()
    batch[0, 6:] = batch[2, 8:] = 0
    model(batch)
    probe.recording()


attempt("a padded batch without lengths", padded)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "weights.pt"
    torch.save(model.state_dict(), path)
    attempt("a file that is not a recording", lambda: dynprobe.load(path))

attempt("an analyzer that is not there", lambda: probe.analyze("manifold_dimensions"))
attempt("seeds of another width", lambda: dynprobe.find_fixed_points(
    probe.recurrence(), torch.zeros(5, 8)))  # fmt: skip
attempt("nothing to probe", lambda: dynprobe.attach(nn.Linear(3, 3)))
