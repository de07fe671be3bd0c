"""The members of a router cluster: their names, what pods and nodes say of them, where they are reached."""
