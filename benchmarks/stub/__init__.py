"""A stub API server for measurements: canned objects, no validation, faster than any client."""
