"""Head-to-head measurements of the runtime against kopf, controller-runtime and kube-rs."""
