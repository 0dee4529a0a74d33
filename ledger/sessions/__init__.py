"""Whether an API kept its word to each of its clients: what sessions read, held against what was acknowledged.

Versions make it a check in linear time: an item's versions are a total order that the server itself hands out, so that
no order has to be searched for, as a checker of linearizability must.
"""

from ledger.sessions.anomalies import Anomaly, Findings, Kind
from ledger.sessions.checker import SessionChecker, check
from ledger.sessions.history import Initial, Page, Read, Record, Shown, Write

BEYOND = ("write skew (A5B)", "anti-dependency cycles (G2-item, G2)", "read skew (G-single)", "long fork")
"""Anomalies between items: each single item is in order, so that nothing here sees them."""

__all__ = [
    "BEYOND", "Anomaly", "Findings", "Initial", "Kind", "Page", "Read", "Record", "SessionChecker", "Shown", "Write",
    "check",
]  # fmt: skip
