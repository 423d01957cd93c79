"""The survey: do transformers and state-space models integrate evidence as RNNs do."""
