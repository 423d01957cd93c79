"""Write an analyzer: how far does each layer's state move per token?"""

from dataclasses import dataclass

import torch
from torch import nn

import dynprobe


@dataclass(frozen=True)
class StepLengths:
    mean: float
    first_quarter: float
    last_quarter: float


@dynprobe.register_analyzer("step_lengths")
class StepLengthAnalyzer(dynprobe.Analyzer):
    requires = frozenset({"states"})

    def analyze(self, ctx):
        rec = ctx.recording
        steps = (rec.states - rec.before).norm(dim=-1)
        quarter = steps.shape[1] // 4
        return StepLengths(
            mean=float(steps[rec.mask].mean()),
            first_quarter=float(steps[:, :quarter].mean()),
            last_quarter=float(steps[:, -quarter:].mean()),
        )


torch.manual_seed(0)
model = nn.GRU(8, 32, num_layers=2, batch_first=True)
with dynprobe.attach(model) as probe:
    model(torch.randn(16, 40, 8))

report = probe.analyze(["step_lengths", "manifold_dimension"])
print(report)
for layer in report.layers:
    print(layer, report["step_lengths", layer])
