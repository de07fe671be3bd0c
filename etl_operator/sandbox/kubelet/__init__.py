"""A node that runs pods as processes of this machine."""

from etl_operator.sandbox.kubelet.images import ImageTable
from etl_operator.sandbox.kubelet.node import ProcessNode

__all__ = ["ImageTable", "ProcessNode"]
