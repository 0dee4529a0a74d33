"""Prometheus metrics of relay and consumers."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, start_http_server

from system.settings import Settings

_OF_CONSUMER = ("consumer", "stream")

LAG = Gauge("covenant_consumer_lag_events", "Events that have a position and are not applied yet.", _OF_CONSUMER)
EFFECTS = Counter("covenant_consumer_effects", "Events that were applied.", _OF_CONSUMER)
DUPLICATES = Counter("covenant_consumer_duplicates", "Events that came again after they were applied.", _OF_CONSUMER)
REDELIVERIES = Counter("covenant_consumer_redeliveries", "Messages that had been delivered before.", _OF_CONSUMER)
DEAD_LETTERS = Counter("covenant_consumer_dead_letters", "Events and messages that were put aside.", _OF_CONSUMER)

PUBLISHED = Counter("covenant_relay_published_events", "Events that were sent to the stream.", ("stream",))
CONFIRMED = Counter("covenant_relay_confirmed_events", "Events that the stream acknowledged.", ("stream",))
UNCONFIRMED = Gauge("covenant_relay_unconfirmed_events", "Events that were sent and await that.", ("stream",))


def serve(settings: Settings) -> None:
    """Serve the metrics from a thread until the process ends, if the settings name a port."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.host)
