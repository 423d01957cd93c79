"""Models that dynprobe ships, for its demonstrations, examples and studies."""

from dynprobe.nn.classifier import RNNClassifier

__all__ = ["RNNClassifier"]
