"""A controller runtime for Kubernetes in asyncio: watch, cache, queue, reconcile.

The package knows nothing of ETL. Data flows one way: bytes come in through
:mod:`informers.watch` as :mod:`informers.views`, rest in :mod:`informers.cache`, become keys in
:mod:`informers.queue`, and leave as patches through :mod:`informers.client`.
"""
