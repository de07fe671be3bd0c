"""Between the control side and the data plane, which do not know each other: plain data goes both ways."""
