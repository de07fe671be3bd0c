"""Whether a child has to be written, and writing it: server-side apply only where something differs."""
