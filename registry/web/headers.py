"""What every answer says to the browser, and which requests are not looked at at all."""

from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.errors import BadInput
from registry.web.failures import fault
from registry.web.site import Site

__all__ = ["CONTENT_SECURITY_POLICY", "Guard"]

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

_A_YEAR: Final = "max-age=31536000"

BODY_LIMIT: Final = 2**20
"""Bytes. No form of ours comes near it."""


class Guard:
    """Adds the security headers, refuses names that are not ours and bodies that are too long, answers for what broke.

    A site that has bound a DNS name of its own to this address would otherwise be of one origin with us.
    """

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app, self._site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if self._site.secure:
                    headers.setdefault("strict-transport-security", _A_YEAR)
            await send(message)

        headers = Headers(scope=scope)
        if (host := _name(headers.get("host", ""))) not in self._site.hosts:
            await self._refuse(421, f"host name {host[:100]!r}", " or ".join(sorted(self._site.hosts)))(
                scope, receive, sending
            )
            return
        length = headers.get("content-length", "0")
        if headers.get("transfer-encoding") or not length.isdecimal() or int(length) > BODY_LIMIT:
            await self._refuse(413, f"a body of {length} bytes", f"at most {BODY_LIMIT}, with its length")(
                scope, receive, sending
            )
            return
        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if begun:
                raise
            request = Request(scope, receive)
            await (await run_in_threadpool(fault, request, error))(scope, receive, sending)

    def _refuse(self, status: int, found: str, expected: str) -> JSONResponse:
        error = BadInput("request", found=found, expected=expected, next_step=f"open {self._site.url}")
        return JSONResponse(error.as_dict(), status_code=status)


def _name(host: str) -> str:
    """A Host header without its port; IPv6 addresses stand in brackets there."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
