"""What the server keeps on disk: objects, keys and certificates, kubeconfigs."""
