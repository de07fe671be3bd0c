"""What holds for every test: no test depends on the speed of the machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A deadline of an example, and the health check of how fast examples are made, measure the machine.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")
