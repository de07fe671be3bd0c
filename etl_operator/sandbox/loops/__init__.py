"""The control loops a cluster has without a kubelet."""
