"""The API's own description, as a document and as a page that needs no network; and the static files."""

import mimetypes
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import FileResponse, JSONResponse, Response

from contracts.errors import unknown_name
from registry.web.access import PERMISSIONS, Require
from registry.web.page import Pages
from registry.web.site import STATIC, Here

__all__ = ["InterfacePage", "Operation", "pages"]

pages = Pages("interface")

_A_YEAR = "public, max-age=31536000, immutable"


class Operation(BaseModel):
    """One path and method."""

    method: str
    path: str
    summary: str
    tag: str
    permission: str
    role: str
    """The lowest role that has it."""
    parameters: list[str]


class InterfacePage(BaseModel):
    """All of them."""

    operations: list[Operation]


@pages.file("/static/{name}", permission="enter")
def static(name: str) -> Response:
    """A style sheet or script of ours."""
    known = {path.name: path for path in STATIC.iterdir() if path.is_file()}
    if name not in known:
        raise unknown_name("static file", name, known, next_step="load the page again")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return FileResponse(known[name], media_type=kind, headers={"cache-control": _A_YEAR})


@pages.file("/api/openapi.json")
def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    document: dict[str, Any] = request.app.openapi()
    return JSONResponse(document)


@pages.page("/api/docs", "pages/interface.html", api="/api/operations")
def interface(here: Here) -> InterfacePage:
    """What the API offers, and who may use it."""
    found = []
    for route in here.request.app.routes:
        if not isinstance(route, APIRoute) or not route.include_in_schema or not route.path.startswith("/api/"):
            continue
        permission = next(d.call.permission for d in route.dependant.dependencies if isinstance(d.call, Require))
        names = [
            name for field in (*route.dependant.path_params, *route.dependant.query_params) for name in _names(field)
        ]
        found.append(
            Operation(
                method=" ".join(sorted(route.methods or ())),
                path=route.path,
                summary=(route.description or route.name).split("\n\n")[0],
                tag=str(route.tags[0]) if route.tags else "",
                permission=permission,
                role=PERMISSIONS[permission],
                parameters=names,
            )
        )
    return InterfacePage(operations=sorted(found, key=lambda operation: (operation.tag, operation.path)))


def _names(field: Any) -> list[str]:
    """Names under which a parameter is given; a model of parameters is given one by one."""
    kind = field.field_info.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return [field.alias]
