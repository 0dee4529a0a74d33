"""Facts about a running system that need no load: what data it holds, which callers may do what, how it is
protected."""


class NotChecked(Exception):
    """A check could not be made, so that there is no evidence; says which one, and why."""
