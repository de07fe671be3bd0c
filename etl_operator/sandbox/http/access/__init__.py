"""Who makes a request, and whether they may: tokens, identities, RBAC, reviews, the audit log."""
