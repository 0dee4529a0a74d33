"""Messages from one byte to 8 MiB, one size after another: what each takes to be acknowledged, and that the limits are
what is said of them."""

from __future__ import annotations

from loadtests.engine import bus_subscriber, load_stream
from loadtests.engine.payload_sweep import PayloadSweepSpec
from loadtests.plan import Engine, Plan, Scenario
from loadtests.recording import sized
from reports.evidence.expected import failures_path, spans_path

_BYTES_PER_S = 16.0 * sized.MIB
"""Of the large sizes: twenty messages of 8 MiB in ten seconds, and at most half of what the disks of three brokers on
one machine and its two cores carry."""


def _generator(plan: Plan, user: int) -> Engine:
    name = f"publisher-{user + 1}"
    spec = PayloadSweepSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part(name),
        subject=load_stream.subject(plan.run_id),
        publisher=user + 1,
        sizes=list(sized.SIZES),
        rate=plan.rate / plan.users,
        bytes_per_s=_BYTES_PER_S / plan.users,
        limits=user == 0,
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
    )
    return Engine(
        name=name, module="loadtests.engine.payload_sweep", spec=spec, region=plan.regions[0], part=spec.part,
        keeps=[failures_path(plan.scenario), spans_path(plan.scenario)],
    )  # fmt: skip


SCENARIO = Scenario(
    name="payload-sweep",
    help=f"publish messages of {sized.words(sized.SIZES[0])} to {sized.words(sized.SIZES[-1])}, size after size, each "
    "acknowledged and read byte by byte; refuse more",
    unit="messages/s of the small sizes",
    rate=200.0,
    duration_s=90.0,
    warmup_s=5.0,
    generator=_generator,
    observers=lambda plan: [bus_subscriber.planned(plan, module="loadtests.engine.sized_subscriber")],
)
