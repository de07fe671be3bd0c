"""Tests of controllers/pipeline."""
