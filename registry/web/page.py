"""One function, two faces: a page for people and the same content as JSON under ``/api``."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Body, Depends, FastAPI, Form, Request, Response
from pydantic import BaseModel
from starlette.responses import JSONResponse, RedirectResponse

from registry.web.access import Require, require
from registry.web.notice import put_notice
from registry.web.render import render

__all__ = ["Done", "Pages"]

Handler = TypeVar("Handler", bound=Callable[..., Any])

_REQUEST = "request__"


class Done(BaseModel):
    """What an action did."""

    said: str
    """One sentence, shown on the page that comes next."""
    to: str
    """Path of that page; always one of ours."""
    job: str | None = None
    """Id of the job that goes on with it, where it takes time."""


@dataclass
class Pages:
    """The routes of a part of the UI; ``registry.web.app`` mounts them.

    Example:
        ``pages = Pages("versions")``, then ``@pages.page("/versions/{surface}", "pages/versions.html")`` above
        ``def versions(here: Here, surface: str) -> VersionsPage``.
    """

    tag: str
    """Heading in the API's documentation."""
    _routes: list[Callable[[FastAPI], None]] = field(default_factory=list)

    def page(
        self, path: str, template: str, *, permission: str = "read", api: str | None = None
    ) -> Callable[[Handler], Handler]:
        """Show a function's result at ``path`` and, as JSON, at ``/api`` + ``path``.

        Args:
            path: Such as ``/versions/{surface}``.
            template: In ``registry/web/templates``; sees the result as ``page``.
            permission: A key of :data:`registry.web.access.PERMISSIONS`.
            api: Path of the JSON where it is another one; for ``/``, which has none of its own.

        Returns:
            A decorator for a function that returns a pydantic model and changes nothing. Its parameters are
            FastAPI's: of the path, of the query, and :data:`registry.web.site.Here`.
        """

        def register(function: Handler) -> Handler:
            @functools.wraps(function)
            def html(**values: Any) -> Response:
                request: Request = values.pop(_REQUEST)
                return render(request, template, page=function(**values), twin=api or f"/api{path}")

            _sign(html, function, request=True)
            self._add(path, html, require(permission), methods=["GET"], include_in_schema=False)
            self._add(api or f"/api{path}", function, require(permission), methods=["GET"])
            return function

        return register

    def action(self, path: str, *, permission: str) -> Callable[[Handler], Handler]:
        """Let a form at ``path``, or JSON at ``/api`` + ``path``, do something: both by POST only.

        Args:
            path: Such as ``/versions/{surface}/{version}/judge``.
            permission: A key of :data:`registry.web.access.PERMISSIONS`.

        Returns:
            A decorator for a function that returns :class:`Done`. A parameter that is a pydantic model is the form,
            or the JSON body. The browser goes to ``Done.to``, which shows ``Done.said``.
        """

        def register(function: Handler) -> Handler:
            @functools.wraps(function)
            def html(**values: Any) -> Response:
                request: Request = values.pop(_REQUEST)
                done: Done = function(**values)
                answer = RedirectResponse(done.to, status_code=303)
                put_notice(request, answer, done.said)
                return answer

            @functools.wraps(function)
            def twin(**values: Any) -> Response:
                done: Done = function(**values)
                return JSONResponse(done.model_dump(), status_code=200 if done.job is None else 202)

            _sign(html, function, request=True, models_from=Form())
            _sign(twin, function, request=False, models_from=Body())
            self._add(path, html, require(permission), methods=["POST"], include_in_schema=False)
            self._add(f"/api{path}", twin, require(permission), methods=["POST"], response_model=Done)
            return function

        return register

    def file(self, path: str, *, permission: str = "read") -> Callable[[Handler], Handler]:
        """Give a function's own :class:`Response` by GET: an export, a picture."""

        def register(function: Handler) -> Handler:
            shown = path.startswith("/api/")
            self._add(
                path, function, require(permission), methods=["GET"], response_model=None, include_in_schema=shown
            )
            return function

        return register

    def form(self, path: str, *, permission: str) -> Callable[[Handler], Handler]:
        """Let a form do something that has no JSON form, such as signing in; the function returns its own response."""

        def register(function: Handler) -> Handler:
            signed = functools.wraps(function)(lambda **values: function(**values))
            _sign(signed, function, request=False, models_from=Form())
            self._add(path, signed, require(permission), methods=["POST"], include_in_schema=False, response_model=None)
            return function

        return register

    def mount(self, app: FastAPI) -> None:
        """Add the routes to an application, in the order they were declared."""
        for add in self._routes:
            add(app)

    def _add(self, path: str, endpoint: Callable[..., Any], needs: Require, **options: Any) -> None:
        options = {"dependencies": [Depends(needs)], "tags": [self.tag], **options}
        self._routes.append(lambda app: app.add_api_route(path, endpoint, **options))


def _sign(wrapper: Any, function: Callable[..., Any], *, request: bool, models_from: Any = None) -> None:
    """Give a wrapper the parameters that FastAPI is to read, models among them from a form or a body."""
    known = inspect.signature(function, eval_str=True)
    parameters: Sequence[inspect.Parameter] = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=_source(parameter.annotation, models_from))
        for parameter in known.parameters.values()
    ]
    if request:
        parameters = [
            *parameters,
            inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request),
        ]
    wrapper.__signature__ = known.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    del wrapper.__wrapped__


def _source(annotation: Any, models_from: Any) -> Any:
    if models_from is not None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Annotated[annotation, models_from]
    return annotation
