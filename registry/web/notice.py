"""What an action did, said once on the page that follows it; a cookie carries it, so that a GET writes nothing."""

import base64
import binascii

from fastapi import Request, Response

__all__ = ["drop_notice", "notice_of", "put_notice"]

_MOST = 600
_SECONDS = 60


def put_notice(request: Request, response: Response, text: str) -> None:
    """Have the next page say something."""
    site = request.app.state.site
    value = base64.urlsafe_b64encode(text[:_MOST].encode()).decode()
    response.set_cookie(
        f"{site.cookie}-notice", value, max_age=_SECONDS, httponly=True, samesite="strict", secure=site.secure
    )


def notice_of(request: Request) -> str:
    """What this page is to say; ``""`` for nothing."""
    value = request.cookies.get(f"{request.app.state.site.cookie}-notice", "")
    try:
        return base64.urlsafe_b64decode(value).decode()[:_MOST]
    except (binascii.Error, ValueError):
        return ""


def drop_notice(request: Request, response: Response) -> None:
    """It has been said."""
    site = request.app.state.site
    if f"{site.cookie}-notice" in request.cookies:
        response.delete_cookie(f"{site.cookie}-notice", httponly=True, samesite="strict", secure=site.secure)
