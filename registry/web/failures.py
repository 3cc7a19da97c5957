"""Errors as pages for people and as JSON for programs: the same object, found, expected and next step."""

import logging
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse

from contracts.errors import BackbeatError, BadInput, NotSignedIn
from registry.web.access import Person
from registry.web.render import render

__all__ = ["fault", "handle_failures"]

_LOG = logging.getLogger("backbeat.ui")


def handle_failures(app: FastAPI) -> None:
    """Turn every known error of an application into an answer; :func:`fault` is for the others."""
    app.add_exception_handler(BackbeatError, _known)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_input)


def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, BackbeatError)
    at_door = isinstance(error, NotSignedIn) and getattr(request.state, "turned_away", False)
    if at_door and request.method == "GET" and not _for_programs(request):
        there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse("/login" if there == "/" else f"/login?to={quote(there)}", status_code=303)
    return _answer(request, error, error.http_status)


def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = BadInput(
        f"{request.method} {request.url.path}",
        found=error.detail,
        expected="a page of the registry, or a path of /api/openapi.json",
        next_step="begin at /",
    )
    return _answer(request, known, error.status_code, dict(error.headers or {}))


def _of_input(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    known = BadInput(
        f"{where} of {request.method} {request.url.path}",
        found="nothing" if first["type"] == "missing" else f"{first.get('input')!r:.200}",
        expected=first["msg"],
        next_step="correct it and send it again; /api/docs describes every field",
    )
    return _answer(request, known, known.http_status)


def fault(request: Request, error: Exception) -> Response:
    """The answer where something of ours is broken; what it was is in the log only."""
    _LOG.error("%s %s", request.method, request.url.path, exc_info=error)
    unknown = BackbeatError(
        f"{request.method} {request.url.path}",
        found="a fault of the registry's own",
        expected="an answer",
        next_step="read what `backbeat ui` has printed, and report it with the output of `backbeat doctor`",
    )
    return _answer(request, unknown, unknown.http_status)


def _for_programs(request: Request) -> bool:
    return request.url.path.startswith("/api/")


def _answer(request: Request, error: BackbeatError, status: int, headers: dict[str, str] | None = None) -> Response:
    if _for_programs(request):
        answer: Response = JSONResponse(error.as_dict(), status_code=status)
    else:
        if getattr(request.state, "person", None) is None:
            request.state.person = _person(request)
        answer = render(request, "error.html", status=status, error=error, code=status)
    if status == 401:
        answer.headers["www-authenticate"] = "Bearer"
    answer.headers.update(headers or {})
    return answer


def _person(request: Request) -> Person:
    try:
        known: Person = request.app.state.site.identify(request)
    except BackbeatError:  # the database is what is at fault
        return Person.nobody()
    return known
