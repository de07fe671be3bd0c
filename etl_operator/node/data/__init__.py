"""The data plane of a node: takes records of sources, calls transforms and sinks, answers the sources.

It knows pipelines and services by `view.Snapshot` only, and hands counters and checkpoints back as plain
data: nothing here imports the consensus engine or the control side.
"""
