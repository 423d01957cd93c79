"""Systems with known answers, for tests of analyses and plugins."""

from dynprobe.testing.systems import (
    linear_system,
    planted_network,
    ring_attractor,
    ring_states,
)

__all__ = ["linear_system", "planted_network", "ring_attractor", "ring_states"]
