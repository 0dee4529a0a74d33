"""Facts about a running system that no load makes: what it holds, who may do what, what protects it."""


class NotChecked(Exception):
    """Something could not be tried at all, so that there is no evidence; says what, and why."""
