"""Consensus among router nodes, behind one small interface (`engine.ConsensusEngine`).

`embedded.EmbeddedEngine` is the engine that comes along: Raft among the nodes themselves. Its parts, from the
inside out: `journal` and `snapshot` on `disk`; `raft`, the algorithm, with `progress` and `election`;
`member`, all of one node but its event loop; `wire` and `transport`. `etcd` is a second engine, on
etcd. `etl_operator.node.engines` chooses one; nothing else knows which engine runs.
"""
