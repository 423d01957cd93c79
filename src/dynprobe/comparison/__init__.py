"""Models side by side on the same sequences."""
