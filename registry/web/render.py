"""Templates: one environment in which everything is escaped, and what every page is given."""

import functools
import hashlib
from typing import Any, Final

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from contracts.surfaces import SURFACES
from registry.web import words
from registry.web.access import Person
from registry.web.charts import Bar, Interval, Series, bars, curves, intervals, sparkline
from registry.web.lineage_chart import Edge, Node, layered
from registry.web.notice import drop_notice, notice_of
from registry.web.site import STATIC, TEMPLATES

__all__ = ["NAVIGATION", "asset", "environment", "render"]

NAVIGATION: Final = (
    ("Overview", "/", "read"),
    *((surface, f"/versions/{surface}", "read") for surface in SURFACES),
    ("Compare", "/compare", "read"),
    ("Promotions", "/promotions", "read"),
    ("Features", "/features", "read"),
    ("Quality", "/quality", "read"),
    ("Shadow and experiments", "/shadow", "read"),
    ("Audit", "/audit", "read"),
    ("Work", "/work", "read"),
    ("People", "/people", "people"),
)
"""Label, path and permission of what the navigation offers."""


_DRAWN: Final = (bars, curves, intervals, sparkline, layered, Bar, Edge, Interval, Node, Series)
"""Charts and what they are made of: a template draws what its page's model holds."""


@functools.cache
def asset(name: str) -> str:
    """Address of a static file; it changes with the content, so browsers may keep it for ever."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


@functools.cache
def environment() -> Environment:
    """The templates. Names, tags and reasons come from outside: everything is escaped unless it is Markup of ours."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals["asset"] = asset
    made.globals |= {piece.__name__: piece for piece in _DRAWN}
    made.filters |= words.FILTERS
    return made


def render(request: Request, template: str, *, status: int = 200, twin: str = "", **values: Any) -> HTMLResponse:
    """A page.

    Args:
        request: What is answered.
        template: Its file in ``registry/web/templates``.
        status: HTTP status.
        twin: Path of the same content as JSON.
        **values: What the template sees besides ``person``, ``path``, ``navigation``, ``notice`` and ``form_token``.
    """
    person: Person = getattr(request.state, "person", None) or Person.nobody()
    navigation = [(label, path) for label, path, permission in NAVIGATION if person.may(permission)]
    api = twin.format(**request.path_params) if twin else ""
    if api and request.url.query:
        api += f"?{request.url.query}"
    text = (
        environment()
        .get_template(template)
        .render(
            request=request,
            person=person,
            may=person.may,
            form_token=person.csrf,
            path=request.url.path,
            navigation=navigation,
            notice=notice_of(request),
            twin=api,
            profile=request.app.state.site.settings.profile,
            **values,
        )
    )
    answer = HTMLResponse(text, status_code=status)
    drop_notice(request, answer)
    return answer
