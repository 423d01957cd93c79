"""Models that dynprobe ships, for its demonstrations, examples and studies."""

from dynprobe.nn.classifier import RNNClassifier
from dynprobe.nn.leaky import LeakyRNN, LeakyRNNCell
from dynprobe.nn.ugrnn import UGRNN, UGRNNCell

__all__ = ["UGRNN", "LeakyRNN", "LeakyRNNCell", "RNNClassifier", "UGRNNCell"]
