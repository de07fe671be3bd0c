"""Reasons, conditions, and the one place that writes a status."""
