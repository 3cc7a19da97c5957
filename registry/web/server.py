"""The running UI: who may reach it, its link, its worker, and its end."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from contracts.actor import current_actor
from contracts.database import Database
from contracts.errors import BadInput
from contracts.home import Home
from contracts.settings import Settings, environment_of_child
from registry.web.app import create_app
from registry.web.oidc import Provider
from registry.web.people import any_users
from registry.web.site import LOOPBACK

__all__ = ["owner_of", "run_ui"]

_WORKER = ("-P", "-m", "backbeat", "features", "work")
_WORKER_ENDS_S = 30.0
_LAST_ANSWERS_S = 5
_ANY = ("0.0.0.0", "::")


def run_ui(settings: Settings, home: Home, worker: bool, announce: Callable[[str, str | None], None]) -> None:
    """Serve the UI until it is stopped.

    Args:
        settings: Name address and port.
        home: Whose registry.
        worker: Whether a child process does queued jobs of the feature room meanwhile.
        announce: Called with the address, and with the link that lets the home's owner in, once both are open.

    Raises:
        BadInput: The address is reachable by others and there are no accounts, or the port is taken.
    """
    import uvicorn

    host, port = settings.ui_host, settings.ui_port
    owner = owner_of(settings, home)
    with _bound(host, port) as listening:
        app = create_app(settings, home, host=host, port=port, owner=owner)
        # Its access log would have the link's token in it.
        config = uvicorn.Config(
            app,
            log_level=logging.WARNING,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_LAST_ANSWERS_S,
        )
        with _worker(settings, worker):
            announce(app.state.site.url, app.state.site.new_entry() if owner else None)
            # It ends what is being answered, then raises the signal that it was stopped by.
            with suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listening])


def owner_of(settings: Settings, home: Home) -> str | None:
    """Name of whoever may enter by the link; None where people sign in with accounts.

    Raises:
        BadInput: The provider's settings cannot be used; or others reach the address, or share the home, and there is
            no account, or no name by which they reach it.
    """
    if settings.oidc_issuer is not None:
        Provider(settings, back="")  # its settings are read now, not when the first person signs in
    alone = settings.profile == "local" and settings.ui_host in LOOPBACK
    if alone:
        return current_actor()
    database = Database(settings, home)
    try:
        ready = settings.oidc_issuer is not None or any_users(database)
    finally:
        database.close()
    if not ready:
        reach = "the production profile" if settings.profile == "production" else f"address {settings.ui_host}"
        raise BadInput(
            "backbeat ui",
            found=f"{reach}, which others reach, and no account",
            expected="an account, or an identity provider (BACKBEAT_OIDC_ISSUER); or 127.0.0.1 in the local profile",
            next_step="run `backbeat users add NAME --role admin`",
        )
    if settings.ui_host in _ANY and settings.ui_url is None:
        raise BadInput(
            "backbeat ui",
            found=f"address {settings.ui_host}, which is all of this machine's, and no name",
            expected="the address that people type, since pages answer to no other name",
            next_step="set BACKBEAT_UI_URL, e.g. to https://registry.example.org",
        )
    return None


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at the address, so that a taken port is said before anything starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # Whoever opens the link at once waits for the first answer instead of being refused.
    except OSError as error:
        listening.close()
        raise BadInput(
            f"address {host}:{port}",
            found=os.strerror(error.errno) if error.errno and error.errno > 0 else str(error),
            expected="an address of this machine with a free port",
            next_step=f"stop what is there, or run `backbeat ui --port {port + 1 if port < 65535 else port - 1}`",
        ) from None
    with listening:
        yield listening


@contextmanager
def _worker(settings: Settings, wanted: bool) -> Iterator[None]:
    """A worker beside the server; it leaves the job at hand to be resumed when the server ends."""
    if not wanted:
        yield
        return
    # A session of its own: it is the server that ends it, not Ctrl-C in the terminal.
    child = subprocess.Popen(
        [sys.executable, *_WORKER],
        env=environment_of_child(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(_WORKER_ENDS_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
