"""A model of the consensus engine: members in virtual time, with a simulated network and simulated disks.

`history.run` plays one history, all of it drawn from a seed, and raises `properties.Violation` if the members
break a promise. All but network, disk and clock is the engine that ships: `consensus.member`, and with
it Raft, journal, snapshots and wire format.

    python -m tests.node.model --histories 10000        # make model
    python -m tests.node.model --first 4711 --histories 1 --trace
"""
