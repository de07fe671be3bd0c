"""What people are told: reasons, conditions, and the one place that writes a status."""
