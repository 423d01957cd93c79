"""Attach to your own nn.LSTM classifier: what do its states do?"""

import torch
from torch import nn

import dynprobe


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(50, 16)
        self.lstm = nn.LSTM(16, 24, batch_first=True)
        self.head = nn.Linear(24, 3)

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.lstm(self.emb(input_ids))[0][:, -1])


torch.manual_seed(0)
model = Classifier().eval()
with dynprobe.attach(model) as probe:
    for _ in range(4):
        model(torch.randint(0, 50, (32, 20)))

print(probe)  # the layers that were found
print(probe.recording().part("c").shape)  # the cell state at every step: (128, 20, 24)
report = probe.analyze()
print(report)
report.save("quickstart.html")
