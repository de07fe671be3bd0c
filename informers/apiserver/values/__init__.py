"""What single values mean, whatever object they stand in: names and labels, quantities, Go's base64."""
