"""A node that runs pods as processes of this machine."""

from etl_operator.sandbox.kubelet.images import OPERATOR_IMAGE, ROUTER_IMAGE, SERVICE_IMAGE, ImageTable
from etl_operator.sandbox.kubelet.node import ProcessNode

__all__ = ["OPERATOR_IMAGE", "ROUTER_IMAGE", "SERVICE_IMAGE", "ImageTable", "ProcessNode"]
