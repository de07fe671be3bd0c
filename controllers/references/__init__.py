"""Who refers to whom: choosing the cluster of an object, finding services by name."""
