"""Training recipes and baselines behind the command line, the examples and the benchmarks."""
