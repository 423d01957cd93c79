"""Each rank analyses its share of the data; the report is that of all of it.

torchrun --nproc-per-node 2 distributed.py
accelerate launch --cpu --num_processes 2 distributed.py
python distributed.py
"""

import os

import torch
import torch.distributed as dist
from torch import nn

import dynprobe

torch.set_num_threads(1)
if "RANK" in os.environ:  # set by torchrun and by accelerate launch
    dist.init_process_group("gloo")
rank = dist.get_rank() if dist.is_initialized() else 0
ranks = dist.get_world_size() if dist.is_initialized() else 1


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(50, 16)
        self.gru = nn.GRU(16, 24, batch_first=True)
        self.head = nn.Linear(24, 3)

    def forward(self, input_ids):
        return self.head(self.gru(self.emb(input_ids))[0][:, -1])


torch.manual_seed(0)  # the same model on every rank
model = Classifier().eval()
texts = torch.randint(0, 50, (256, 20), generator=torch.Generator().manual_seed(1))
with dynprobe.attach(model) as probe, probe.accumulate() as running, torch.no_grad():
    for batch in texts[rank::ranks].split(16):  # its share, batch by batch; none is kept
        model(batch)

report = running.report(group=dist.group.WORLD if dist.is_initialized() else None)
if rank == 0:
    print(report)
    visited = report["manifold_dimension"].visited
    print(f"{visited.count} states: participation ratio {visited.participation_ratio:.6f}")
if dist.is_initialized():
    dist.destroy_process_group()
