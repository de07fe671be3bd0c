"""Formats of single values in objects of any kind: names and labels, quantities, base64 as Go reads it."""
