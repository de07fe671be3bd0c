"""Tests of what runs peers' suites."""
