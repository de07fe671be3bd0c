"""One conformance suite for the embedded control plane and for real ones, over HTTPS."""
