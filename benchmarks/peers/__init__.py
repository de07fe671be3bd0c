"""The programs that are measured, and how they are built and started."""
