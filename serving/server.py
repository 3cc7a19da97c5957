"""The service as a child process: started, found again, and stopped with all its workers."""

import hashlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from contracts.errors import BadInput, Conflict, ServiceUnavailable
from contracts.files import write_text_whole
from contracts.home import Home
from contracts.settings import Settings, environment_of_child
from serving.faults import take_fault

__all__ = ["Server", "announced", "free_port", "running_server"]

_START_LIMIT_S = 120.0
_STOP_LIMIT_S = 15.0
_POLL_S = 0.1
_LOOPBACK = "127.0.0.1"


def free_port(host: str = _LOOPBACK) -> int:
    """A TCP port that nothing is bound to at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=1.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _announcements(home: Home) -> list[Path]:
    """One file for each ``backbeat serve`` on this home, the last started first."""
    return sorted(home.logs.glob("serving.*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)


@contextmanager
def announced(home: Home, url: str) -> Iterator[None]:
    """For the length of the block, let :func:`running_server` find the server at this address."""
    # A file of this server's own, named by its address: several may serve one home, and stop in any order.
    own = home.logs / f"serving.{hashlib.sha256(url.encode()).hexdigest()[:12]}.json"
    write_text_whole(own, json.dumps({"url": url}))
    try:
        yield
    finally:
        own.unlink(missing_ok=True)


def running_server(home: Home) -> str | None:
    """Address of the last started server that ``backbeat serve`` runs on this home, or None where none answers."""
    for path in _announcements(home):
        with suppress(FileNotFoundError):  # its server has just stopped
            url = str(json.loads(path.read_text(encoding="utf-8"))["url"])
            if _answers(url):
                return url
    return None


class Server:
    """A BentoML server in a child process; as a context manager it runs for the length of the block.

    Args:
        settings: What the service reads, handed on through its environment.
        home: The home it serves; its log is ``logs/serve.log`` there.
        host: IP address to bind.
        port: Port to bind.

    Raises:
        BadInput: The host is not an IP address.
    """

    def __init__(self, settings: Settings, home: Home, host: str, port: int) -> None:
        try:
            address = ipaddress.ip_address(_LOOPBACK if host == "localhost" else host)
        except ValueError:
            raise BadInput(
                f"host {host!r}",
                found="not an IP address",
                expected="an address of this machine such as 127.0.0.1, or 0.0.0.0 for all of them",
                next_step="correct --host or BACKBEAT_SERVE_HOST",
            ) from None
        self._settings = settings
        self._home = home
        self._host = str(address)
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self.log = home.logs / "serve.log"
        reachable = address if not address.is_unspecified else ipaddress.ip_address(_LOOPBACK)
        self.url = f"http://{f'[{reachable}]' if reachable.version == 6 else reachable}:{port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the child and wait until it answers.

        Raises:
            Conflict: The port is taken.
            BackbeatError: What kept the worker from starting, e.g. no champion.
            ServiceUnavailable: It ended, or did not answer in time, without saying why.
        """
        self._require_free_port()
        self._home.logs.mkdir(parents=True, exist_ok=True)
        environment = environment_of_child(self._settings) | {
            "BENTOML_HOME": str(self._home.cache / "bentoml"),
            # Without it a folder named `training` in the working directory would be run instead of ours.
            "PYTHONSAFEPATH": "1",
        }
        command = [sys.executable, "-m", "serving.host", self._host, str(self._port), str(os.getpid())]
        with self.log.open("ab") as log:
            # Its own session: Ctrl-C reaches this process only, which then stops the child in good order.
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Wait until the child ends by itself.

        Raises:
            ServiceUnavailable: It did.
        """
        assert self._process is not None
        # Polars, which MLflow imports, has system calls go on after a Ctrl-C: this wait would never hear of it.
        signal.siginterrupt(signal.SIGINT, True)
        code = self._process.wait()
        raise self._unavailable(f"its process ended with code {code}")

    def stop(self) -> None:
        """End the child and its workers; at most 15 s for requests under way. Harmless where nothing runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()  # its workers notice and follow
            process.wait()
        take_fault(self._home, process.pid)

    def _require_free_port(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._host, self._port))
            except OSError as error:
                raise Conflict(
                    f"address {self._host}:{self._port}",
                    found=error.strerror,
                    expected="an address of this machine and a free port",
                    next_step="stop the other program, or give another --host or --port",
                ) from None

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        while not _answers(self.url):
            fault = take_fault(self._home, process.pid)
            if fault is not None:
                raise fault
            if process.poll() is not None:
                raise self._unavailable(f"its process ended with code {process.returncode} while starting")
            if time.monotonic() > deadline:
                raise self._unavailable(f"no answer within {_START_LIMIT_S:.0f} s")
            time.sleep(_POLL_S)

    def _unavailable(self, found: str) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"service {self.url}", found=found, expected="a running service", next_step=f"read {self.log}"
        )
