"""The HTTP face of the engine, as a Starlette application that the BentoML service mounts.

BentoML's own JSON endpoints reach less than half of the requests per second, and their errors are not in the
platform's form.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts.errors import BackbeatError, BadInput
from contracts.messages import RecommendRequest
from serving.openapi import openapi_document

if TYPE_CHECKING:
    from serving.engine import Engine

__all__ = ["build_app"]


_BODY_LIMIT = 4 * 2**20
"""Bytes; more than the longest list of exclusions needs."""


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > _BODY_LIMIT:
            raise HTTPException(413, f"a request body of more than {_BODY_LIMIT // 2**20} MiB")
    return b"".join(chunks)


def _parse(body: bytes) -> RecommendRequest:
    try:
        return RecommendRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        found = first["type"].replace("_", " ") if first["type"] in ("missing", "json_invalid") else first["input"]
        raise BadInput(
            f"request field {field!r}" if field else "request body",
            found=f"{found!r:.200}",
            expected=first["msg"],
            next_step='send JSON such as {"user_id": "u1", "k": 20}; /openapi.json describes every field',
        ) from None


async def _recommend(request: Request) -> Response:
    engine: Engine = request.app.state.engine
    wanted = _parse(await _body(request))
    answer = await asyncio.get_running_loop().run_in_executor(engine.executor, engine.answer, wanted)

    async def aside() -> None:
        engine.aside(answer)

    # A background task runs once the answer has been sent; a coroutine, since a function would cost a thread.
    return Response(answer.response.model_dump_json(), media_type="application/json", background=BackgroundTask(aside))


async def _status(request: Request) -> Response:
    engine: Engine = request.app.state.engine
    return JSONResponse(engine.status())


async def _openapi(_: Request) -> Response:
    return JSONResponse(openapi_document())


async def _platform_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, BackbeatError)
    return JSONResponse(error.as_dict(), status_code=error.http_status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = BadInput(
        f"{request.method} {request.url.path}",
        found=error.detail,
        expected="POST /recommend, GET /status or GET /openapi.json",
        next_step="read /openapi.json",
    )
    return JSONResponse(known.as_dict(), status_code=error.status_code, headers=error.headers)


async def _fault(request: Request, _: Exception) -> Response:
    unknown = BackbeatError(
        f"{request.method} {request.url.path}",
        found="a fault of the service",
        expected="an answer",
        next_step="read the service's log (serve.log in the home's logs directory)",
    )
    return JSONResponse(unknown.as_dict(), status_code=unknown.http_status)


def build_app(open_engine: Callable[[], "Engine"]) -> Starlette:
    """The application.

    Args:
        open_engine: Called when the server starts; the engine is closed when it stops.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.engine = open_engine()
        try:
            yield
        finally:
            app.state.engine.close()

    return Starlette(
        routes=[
            Route("/recommend", _recommend, methods=["POST"]),
            Route("/status", _status, methods=["GET"]),
            Route("/openapi.json", _openapi, methods=["GET"]),
        ],
        exception_handlers={BackbeatError: _platform_error, HTTPException: _http_error, Exception: _fault},
        lifespan=lifespan,
    )
