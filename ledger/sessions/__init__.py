"""Whether an API kept its word to each of its clients: what sessions read, held against what was acknowledged.

Versions make it a check in linear time: an item's versions are a total order that the server itself hands out, so that
no order has to be searched for, as a checker of linearizability must. What can be judged is what one item's versions
show. Anomalies between items (write skew, long fork, G2-item) leave every single item in order: they are not seen here.
"""

from ledger.sessions.anomalies import Anomaly, Findings, Kind
from ledger.sessions.checker import SessionChecker, check
from ledger.sessions.history import Initial, Page, Read, Record, Shown, Write

__all__ = [
    "Anomaly", "Findings", "Initial", "Kind", "Page", "Read", "Record", "SessionChecker", "Shown", "Write", "check",
]  # fmt: skip
