"""Recordings as folders of shards that survive crashes: append-only, checked, without pickle."""
