"""Tests of informers/views."""
