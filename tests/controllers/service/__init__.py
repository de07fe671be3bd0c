"""Tests of controllers/service."""
