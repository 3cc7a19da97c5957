"""The HTTP face of the engines, as a Starlette application that the BentoML service mounts.

BentoML's own JSON endpoints reach less than half of the requests per second, and their errors are not in the
platform's form.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts.errors import BackbeatError, BadInput, ServiceUnavailable
from contracts.feedback import FeedbackRequest
from contracts.messages import BatchRequest, BatchResponse, RecommendRequest
from serving.openapi import openapi_document

if TYPE_CHECKING:
    from serving.surfaces import Surfaces

__all__ = ["build_app"]


_Message = TypeVar("_Message", bound=BaseModel)
_Handler = Callable[[Request], Awaitable[Response]]

_BODY_LIMIT = 4 * 2**20
"""Bytes; more than the longest list of exclusions needs."""


_SHOWN = 200
"""Characters of what a client sent that an error gives back."""


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > _BODY_LIMIT:
            raise HTTPException(413, f"a request body of more than {_BODY_LIMIT // 2**20} MiB")
    return b"".join(chunks)


def _parse(body: bytes, message: type[_Message], example: str) -> _Message:
    try:
        return message.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))[:_SHOWN]
        found = first["type"].replace("_", " ") if first["type"] in ("missing", "json_invalid") else first["input"]
        raise BadInput(
            f"request field {field!r}" if field else "request body",
            found=repr(found)[:_SHOWN],
            expected=first["msg"].removeprefix("Value error, "),
            next_step=f"send JSON such as {example}; /openapi.json describes every field",
        ) from None


async def _recommend(request: Request) -> Response:
    surfaces: Surfaces = request.app.state.surfaces
    wanted = _parse(await _body(request), RecommendRequest, '{"user_id": "u1", "k": 20}')
    engine = surfaces.engine(wanted.surface)
    answer = await engine.gatherer.ask(wanted)

    async def aside() -> None:
        engine.aside(answer)

    # A background task runs once the answer has been sent; a coroutine, since a function would cost a thread.
    return Response(answer.response.model_dump_json(), media_type="application/json", background=BackgroundTask(aside))


async def _feedback(request: Request) -> Response:
    surfaces: Surfaces = request.app.state.surfaces
    example = (
        '{"response_id": "…", "events": [{"event_id": "e1", "kind": "click", "item_id": "v1", "at": '
        '"2026-01-31T12:00:00Z"}]}'
    )
    events = _parse(await _body(request), FeedbackRequest, example)
    receipt = await asyncio.wrap_future(surfaces.feedback.submit(events))
    return Response(receipt.model_dump_json(), media_type="application/json")


async def _recommend_batch(request: Request) -> Response:
    surfaces: Surfaces = request.app.state.surfaces
    wanted = _parse(await _body(request), BatchRequest, '{"user_ids": ["u1", "u2"], "k": 20}')
    engine = surfaces.engine(wanted.surface)
    answers = await asyncio.get_running_loop().run_in_executor(engine.executor, engine.answer_all, wanted.singles())

    async def aside() -> None:
        for answer in answers:
            engine.aside(answer)

    batch = BatchResponse.model_construct(responses=[answer.response for answer in answers])
    return Response(batch.model_dump_json(), media_type="application/json", background=BackgroundTask(aside))


async def _status(request: Request) -> Response:
    surfaces: Surfaces = request.app.state.surfaces
    return JSONResponse(surfaces.status())


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
        expected="POST /recommend, POST /recommend/batch, POST /feedback, GET /status or GET /openapi.json",
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


def _timed(handler: _Handler) -> _Handler:
    """Answer in time, or say in the platform's form that it cannot be done."""

    async def timed(request: Request) -> Response:
        longest_s: float = request.app.state.longest_s
        try:
            async with asyncio.timeout(longest_s):
                return await handler(request)
        except TimeoutError:
            raise ServiceUnavailable(
                f"{request.method} {request.url.path}",
                found=f"no answer within {longest_s:g} s",
                expected="a service that keeps up with its requests",
                next_step="ask again later, or raise BACKBEAT_SERVE_TIMEOUT or BACKBEAT_SERVE_WORKERS",
            ) from None

    return timed


def build_app(open_surfaces: Callable[[], "Surfaces"], longest_s: float = 30.0) -> Starlette:
    """The application.

    Args:
        open_surfaces: Called when the server starts; what it gives is closed when the server stops.
        longest_s: Seconds after which a request that is not answered is refused.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.longest_s = longest_s
        app.state.surfaces = open_surfaces()
        try:
            yield
        finally:
            app.state.surfaces.close()

    return Starlette(
        routes=[
            Route("/recommend", _timed(_recommend), methods=["POST"]),
            Route("/recommend/batch", _timed(_recommend_batch), methods=["POST"]),
            Route("/feedback", _timed(_feedback), methods=["POST"]),
            Route("/status", _status, methods=["GET"]),
            Route("/openapi.json", _openapi, methods=["GET"]),
        ],
        exception_handlers={BackbeatError: _platform_error, HTTPException: _http_error, Exception: _fault},
        lifespan=lifespan,
    )
