"""Tests of controllers/finalizing."""
