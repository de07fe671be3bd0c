"""The whole product as a user sees it, on the embedded control plane or a real one."""
