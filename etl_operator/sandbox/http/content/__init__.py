"""What requests and answers contain: media types, encodings, YAML, header text."""
