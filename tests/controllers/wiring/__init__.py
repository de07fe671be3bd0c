"""Tests of controllers/wiring."""
