"""Analyzers: recordings and recurrences in, results out."""
