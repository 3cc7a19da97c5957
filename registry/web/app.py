"""The application: pages, security and errors put together."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute

from contracts.home import Home
from contracts.revision import library_versions
from contracts.settings import Settings
from registry.web.access import Require
from registry.web.failures import handle_failures
from registry.web.headers import Guard
from registry.web.page import Pages
from registry.web.pages import (
    account,
    audit,
    compare,
    entrance,
    experiments,
    features,
    interface,
    lineage,
    overview,
    people,
    promotions,
    quality,
    shadow,
    version,
    versions,
    work,
)
from registry.web.site import Site

__all__ = ["PARTS", "create_app", "permission_of"]

PARTS: tuple[Pages, ...] = (
    entrance.pages,
    interface.pages,
    overview.pages,
    versions.pages,
    version.pages,
    lineage.pages,
    compare.pages,
    promotions.pages,
    features.pages,
    quality.pages,
    shadow.pages,
    experiments.pages,
    audit.pages,
    account.pages,
    people.pages,
    work.pages,
)
"""Everything that has routes."""


def create_app(
    settings: Settings,
    home: Home,
    *,
    host: str = "127.0.0.1",
    port: int = 8410,
    owner: str | None = None,
    parts: Iterable[Pages] = PARTS,
) -> FastAPI:
    """The UI of a home.

    Args:
        settings: The process's settings.
        home: Whose registry.
        host: Address it will be bound to: pages of other origins are refused.
        port: Port it will be bound to.
        owner: Name of whoever holds the link of :meth:`registry.web.site.Site.new_entry`; None where people sign in
            with accounts only.
        parts: What it consists of.

    Raises:
        RuntimeError: A route names no permission, which is a mistake in the code.
    """
    site = Site(settings, home, host, port, owner)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        site.close()

    app = FastAPI(
        title="Backbeat registry",
        version=library_versions().get("backbeat", "unknown"),
        description="Every page of the UI as JSON. Send `Authorization: Bearer TOKEN`.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.site = site
    for part in parts:
        part.mount(app)
    for route in app.routes:
        permission_of(route)
    handle_failures(app)
    app.add_middleware(Guard, site=site)
    return app


def permission_of(route: object) -> str:
    """The permission that a route names.

    Raises:
        RuntimeError: It names none, or more than one.
    """
    found = []
    if isinstance(route, APIRoute):
        found = [needed.call for needed in route.dependant.dependencies if isinstance(needed.call, Require)]
    if len(found) != 1:
        raise RuntimeError(f"route {getattr(route, 'path', route)} names {len(found)} permissions, expected one")
    return found[0].permission
