"""``etl-operator backup`` and ``etl-operator restore``: a cluster's state in files or an object store."""
