"""Recordings and reports as pandas tables."""
