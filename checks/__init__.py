"""Facts about a running system that no load makes: what it holds, who may do what, what protects it."""
