"""That a request which changes something was sent from a page of ours, by the browser that was given that page."""

import hashlib
import hmac
from collections.abc import Collection

from fastapi import Request

from contracts.errors import NotPermitted

__all__ = ["CSRF_FIELD", "CSRF_HEADER", "csrf_of", "require_own_form"]

CSRF_FIELD = "csrf"
"""Name of the hidden field that every form has."""

CSRF_HEADER = "x-csrf-token"
"""Header that says the same for requests from JavaScript."""

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def csrf_of(secret: str) -> str:
    """The token that belongs to a cookie's value; who sees it learns nothing of the cookie."""
    return hmac.new(secret.encode(), b"backbeat csrf", hashlib.sha256).hexdigest()


async def require_own_form(request: Request, expected: str, origins: Collection[str]) -> None:
    """Refuse a form that is not ours.

    Args:
        request: It may have the token as a field of its form or as a header.
        expected: The token of the browser's cookie; ``""`` where it has none.
        origins: Where pages of ours come from, e.g. ``http://127.0.0.1:8410``.

    Raises:
        NotPermitted: It comes from elsewhere, or its token is missing, foreign or of a session that has ended.
    """
    said = f"{request.method} {request.url.path}"
    origin = request.headers.get("origin")
    if origin is not None and origin not in origins:
        raise NotPermitted(
            f"origin of {said}",
            found=origin[:200],
            expected=" or ".join(sorted(origins)),
            next_step="open the page here and send it from there; BACKBEAT_UI_URL names another address of the UI",
        )
    given = request.headers.get(CSRF_HEADER)
    if given is None and request.headers.get("content-type", "").split(";")[0].strip().lower() in _FORMS:
        field = (await request.form()).get(CSRF_FIELD)
        given = field if isinstance(field, str) else None
    if not expected or given is None or not hmac.compare_digest(given.encode(), expected.encode()):
        raise NotPermitted(
            f"form of {said}",
            found="no CSRF token" if given is None else "a CSRF token of another or an ended session",
            expected="the token of this browser's session; nothing was changed",
            next_step="load the page again and send the form once more",
        )
