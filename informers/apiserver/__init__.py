"""The embedded API server: pure rules on plain dictionaries, no sockets.

Each line may import from the lines above it, never from below; import-linter checks it.

- ``errors``: how the server refuses.
- ``values``, ``store``: what single values mean; where objects live.
- ``schema``: the schemas of kinds, and what they do with an object: defaults, pruning, validation.
- ``fields``, ``kinds``: who owns which field; which kinds are served.
- ``requests``: what is asked, with which parameters.
- ``reading``: lists, watches, selectors.
- ``builtin``: the rules of built-in kinds that no schema says.
- ``protobuf``, ``admission``: bodies in protobuf; the admission plugins.
- ``writing``: create, update, patch, apply, delete.
- ``loops``: what the server does by itself: definitions, garbage, namespaces, old events.
- ``core``, ``rest``, ``reviews``, ``faults``, ``write_log``: the whole server and the way into it.
"""
