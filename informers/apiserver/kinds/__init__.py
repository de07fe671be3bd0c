"""Which kinds are served and how: the built-in ones, those of definitions, and conversion of versions."""
