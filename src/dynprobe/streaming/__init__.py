"""Analyses of a run that keep no states: accumulators, fed batch by batch."""
