"""How each row is measured. A row without an entry here is not measured yet."""

from __future__ import annotations

from reports.verdict.measures import (
    alarms,
    checks,
    connections,
    consistency,
    contents,
    faults,
    loads,
    parts_alive,
    rates,
    replication,
    soak,
)
from reports.verdict.measures.parts import Measure, Measurement, Part, measuring_s

MEASURES: dict[str, Measure] = {
    "api.read_p99": loads.latency,
    "api.write_p99": loads.latency,
    "bus.throughput": rates.rate,
    "bus.applied": rates.rate,
    "bus.relayed": rates.rate,
    "bus.publish_p99": loads.latency,
    "bus.delivery_p99": loads.latency,
    "bus.end_to_end_p99": loads.latency,
    "realtime.p99": loads.latency,
    "availability": loads.availability,
    "recovery.rto": faults.rto,
    "recovery.rpo_loss": faults.rpo,
    "recovery.redundancy": parts_alive.redundancy,
    "system.parts": parts_alive.parts,
    "recovery.lag": loads.lag,
    "bus.exactly_once": faults.exactly_once,
    "ledger.contents": contents.contents,
    "api.consistency": consistency.consistency,
    "bus.replication": replication.replication,
    "bus.limits": checks.matrix,
    "bus.connections": connections.connections,
    "bus.gateways": checks.matrix,
    "data.countries": checks.count,
    "data.projects": checks.count,
    "data.points": checks.count,
    "security.transit": checks.matrix,
    "security.rest": checks.matrix,
    "security.access": checks.matrix,
    "security.audit": checks.matrix,
    "security.secrets": checks.matrix,
    "web.e2e": checks.browser,
    "soak.memory": soak.memory,
    "soak.files": soak.files,
    "soak.drift": soak.latency,
    "harness.alarms": alarms.caught,
    "harness.honesty": loads.honesty,
}
"""Row without its region -> how it is measured."""

__all__ = ["MEASURES", "Measure", "Measurement", "Part", "measuring_s"]
