"""The operator as a whole: what it writes when nothing changes, and how much memory it takes."""
