"""The embedded API server: pure rules on plain dictionaries, no sockets.

Each line may import the lines above it, never those below, and there are no cycles. import-linter checks
this, and which modules others may import.

- ``errors``: how the server refuses.
- ``values``, ``store``: what single values mean; where objects live.
- ``schema``: the schemas of kinds, and what they do with an object: defaults, pruning, validation.
- ``fields``, ``kinds``: who owns which field; which kinds are served.
- ``requests``: what is asked, with which parameters.
- ``reading``: lists, watches, selectors.
- ``builtin``: the rules of built-in kinds that no schema says.
- ``protobuf``, ``admission``: bodies in protobuf; the admission plugins.
- ``writing``: create, update, patch, apply, delete. All take a ``Backend``, never the whole server.
- ``faults``, ``write_log``, ``loops``: failures on request; who wrote what; what the server does by itself.
- ``core``: the whole server.
- ``rest``: the way into it, one call per request.
"""
