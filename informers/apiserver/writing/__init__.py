"""Writing: create, update, patch, apply and delete, from what was sent to what is stored."""
