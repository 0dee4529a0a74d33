"""The application: every handler, and the layers that all requests pass through."""

from __future__ import annotations

from litestar import Litestar
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from system import wire
from system.api import health, pages
from system.api.auth.token_endpoint import sign_in
from system.api.http import problems
from system.api.http.asyncapi import asyncapi
from system.api.http.fast_path import ReadRoutes, with_fast_path
from system.api.http.messages import BODY_BYTES_MAX
from system.api.http.metrics import measured, metrics
from system.api.http.openapi import document, openapi
from system.api.live import events_endpoint, wake_endpoint
from system.api.resources import countries, incidents, projects, regions, sectors, users
from system.api.services import Services


def handlers() -> list[HTTPRouteHandler]:
    """Every handler of the API and of its pages."""
    return [
        *projects.HANDLERS, *countries.HANDLERS, *users.HANDLERS, *incidents.HANDLERS, *regions.HANDLERS,
        *sectors.HANDLERS, *events_endpoint.HANDLERS, *wake_endpoint.HANDLERS, *pages.handlers(), sign_in, health.live,
        health.ready, metrics, openapi, asyncapi,
    ]  # fmt: skip


_READS = {
    wire.PROJECTS: ReadRoutes(projects.list_projects.fn, projects.get_project.fn, f"{wire.PROJECTS}/{{project_id}}"),
    wire.COUNTRIES: ReadRoutes(
        countries.list_countries.fn, countries.get_country.fn, f"{wire.COUNTRIES}/{{country_id}}"
    ),
    wire.REGIONS: ReadRoutes(regions.list_regions.fn),
}


def create_app(services: Services) -> ASGIApp:
    """The ASGI application on these services. It neither opens nor closes them."""
    all_handlers = handlers()
    app = Litestar(
        all_handlers,
        state=State({"services": services, "openapi": document(all_handlers)}),
        exception_handlers=problems.HANDLERS,
        openapi_config=None,
        request_max_body_size=BODY_BYTES_MAX,
        logging_config=None,
    )
    return measured(services.auth.wrap(with_fast_path(app, _READS)))
