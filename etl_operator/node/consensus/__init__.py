"""Consensus among router nodes, behind one small interface (`engine.ConsensusEngine`).

`embedded.EmbeddedEngine` is the engine that comes along: Raft by pysyncobj, with this package's own journal,
snapshots, wire format and transport. An engine on top of an outside store (etcd, say) implements the same
Protocol and is chosen in `etl_operator.node.process`; nothing else knows which engine runs.
"""
