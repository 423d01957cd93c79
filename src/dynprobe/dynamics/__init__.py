"""Mathematics on a map F: fixed points, linearisation, time constants."""
