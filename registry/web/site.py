"""What the pages share: settings, home, database, and how a request's sender is recognised."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

from fastapi import Depends, Request

from contracts.database import Database
from contracts.home import Home
from contracts.settings import Settings
from registry.web.access import Person
from registry.web.csrf import csrf_of
from registry.web.sessions import digest_of, find_session
from registry.web.tokens import find_token

__all__ = ["LOOPBACK", "STATIC", "TEMPLATES", "Here", "Site", "Visit"]

Kept = TypeVar("Kept")

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
"""Hosts that only this machine reaches."""

STATIC: Final = Path(__file__).parent / "static"
TEMPLATES: Final = Path(__file__).parent / "templates"


class Site:
    """One running UI.

    Attributes:
        settings: The process's settings.
        home: Whose registry it shows.
        database: The platform's tables.
        origins: Where its pages come from, as browsers say it.
        hosts: Names by which it answers; another one is a DNS name that somebody has bound to this address.
        secure: Whether browsers reach it by https.
        owner: Who holds the link that is printed at start; None where people sign in with accounts.

    Args:
        settings: See above.
        home: See above.
        host: Address it is bound to.
        port: Its port.
        owner: See above.
    """

    def __init__(self, settings: Settings, home: Home, host: str, port: int, owner: str | None = None) -> None:
        self.settings, self.home, self.owner = settings, home, owner
        self.database = Database(settings, home)
        names = {host, *LOOPBACK} if host in LOOPBACK else {host}
        self.origins = {f"http://{_bracketed(name)}:{port}" for name in names}
        self.hosts = set(names)
        self.url = f"http://{_bracketed(host)}:{port}"
        if settings.ui_url:
            given = urlsplit(settings.ui_url)
            self.url = settings.ui_url.rstrip("/")
            self.origins.add(f"{given.scheme}://{given.netloc}")
            self.hosts.add(given.hostname or "")
        self.secure = self.url.startswith("https:")
        self.prefix = "__Host-" if self.secure else ""
        # Cookies of one host are shared by all its ports, so two UIs on one machine need names of their own.
        self.cookie = f"{self.prefix}backbeat-{port}"
        self._entry: str | None = None
        self._kept: dict[str, Any] = {}
        self._lock = threading.RLock()

    def new_entry(self) -> str:
        """The link that lets the home's owner in, once. Only a digest of its token is kept."""
        token = secrets.token_urlsafe(24)
        self._entry = digest_of(token)
        return f"{self.url}/enter?token={token}"

    def use_entry(self, token: str) -> bool:
        """Whether a token is that of the link; from now on it is not."""
        with self._lock:
            if self._entry is None or not secrets.compare_digest(self._entry, digest_of(token)):
                return False
            self._entry = None
            return True

    def identify(self, request: Request) -> Person:
        """Who sent a request: by its token, else by its cookie, else nobody."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            known = find_token(self.database, token.strip())
            return Person.nobody() if known is None else Person.of_token(known.name, known.role, known.permissions)
        secret = request.cookies.get(self.cookie)
        found = find_session(self.database, self.settings, secret) if secret else None
        if secret and found is not None:
            return Person.of_session(found.name, found.role, found.digest, csrf_of(secret), found.owner)
        early = request.cookies.get(f"{self.cookie}-enter")
        return Person.nobody(csrf_of(early) if early else "")

    def kept(self, name: str, make: Callable[[], Kept]) -> Kept:
        """What one process needs once, made when it is first asked for; its ``close`` is called at the end."""
        with self._lock:
            if name not in self._kept:
                self._kept[name] = make()
            kept: Kept = self._kept[name]
            return kept

    def close(self) -> None:
        """End what was kept and return all connections."""
        for kept in self._kept.values():
            if (end := getattr(kept, "close", None)) is not None:
                end()
        self.database.close()


@dataclass(frozen=True)
class Visit:
    """What a page or an action is given: who asks, and what it works with."""

    site: Site
    person: Person
    request: Request

    @property
    def settings(self) -> Settings:
        """The process's settings."""
        return self.site.settings

    @property
    def home(self) -> Home:
        """Whose registry."""
        return self.site.home

    @property
    def database(self) -> Database:
        """The platform's tables."""
        return self.site.database


def _visit(request: Request) -> Visit:
    return Visit(request.app.state.site, request.state.person, request)


Here = Annotated[Visit, Depends(_visit)]
"""Annotate a parameter of a page or an action with it: ``def page(here: Here) -> …``."""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
