"""Tests of controllers/applying."""
