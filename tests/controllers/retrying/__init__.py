"""Tests of controllers/retrying."""
