"""The engine on etcd: a log of commands in its store, written by the holder of an election key.

`engine.EtcdEngine` is the `ConsensusEngine`. Its parts, from the inside out: `client`, the calls of one etcd
member and their errors; `log`, what the keys and values are; `leading`, who may write; `program`, the etcd
process that a node starts; `joining`, how that process becomes a member.
"""
