"""Tests of controllers/members."""
