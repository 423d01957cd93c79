"""Hooks and what they see: calls in, recordings out."""
