"""What the API server calls the five kinds."""

from __future__ import annotations

from informers.objects import Resource

GROUP = "etl.router"
VERSION = "v1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "etl"
"""``kubectl get etl`` lists all five kinds."""

CLUSTER = Resource(GROUP, VERSION, "etlrouterclusters", "EtlRouterCluster")
PIPELINE = Resource(GROUP, VERSION, "etlpipelines", "EtlPipeline")
SOURCE = Resource(GROUP, VERSION, "etlsources", "EtlSource")
TRANSFORM = Resource(GROUP, VERSION, "etltransforms", "EtlTransform")
SINK = Resource(GROUP, VERSION, "etlsinks", "EtlSink")
