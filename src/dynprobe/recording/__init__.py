"""Recordings: states of many sequences and what goes with them."""

from dynprobe.recording.meta import RecordingMeta
from dynprobe.recording.recording import Recording

__all__ = ["Recording", "RecordingMeta"]
