"""Where pushed batches wait for the consumer: a directory (local profile) or a Redis stream (production).

Both hand out a batch until it is confirmed, whatever happens to the consumer in between; taking it in twice is made
harmless by the landing, which knows batches by their ids.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from contracts.addresses import required
from contracts.errors import BadInput, ServiceUnavailable
from contracts.files import write_bytes_whole
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.stream.batch import Batch

if TYPE_CHECKING:
    from redis import Redis

__all__ = ["Delivery", "DirectoryInbox", "Inbox", "RedisInbox", "open_inbox"]

_POLL_S = 0.02
_STREAM, _GROUP, _FIELD = "backbeat:pushed", "features", b"batch"
_READ_AT_ONCE = 100


@dataclass(frozen=True)
class Delivery:
    """A batch as it came, or why it cannot be read."""

    token: str
    """What the inbox knows it by."""
    batch: Batch | None
    fault: BadInput | None = None
    data: bytes = b""


class Inbox(Protocol):
    """A queue that forgets a batch only when told to."""

    def put(self, batch: Batch) -> None:
        """Add a batch, durable before this returns."""

    def waiting(self, wait_s: float) -> list[Delivery]:
        """Batches not confirmed yet, oldest first; waits up to ``wait_s`` seconds for the first one."""

    def confirm(self, delivery: Delivery) -> None:
        """Forget a batch that has been taken in, or set aside."""


def open_inbox(settings: Settings, home: Home, dataset: str) -> Inbox:
    """The inbox of a data set.

    Raises:
        NotFound: The production profile has no Redis address.
    """
    if settings.profile == "local":
        return DirectoryInbox(home.stream / "inbox" / quote(dataset, safe=""))
    return RedisInbox(required(settings, "redis_url", "127.0.0.1:6379"), f"{_STREAM}:{dataset}")


class DirectoryInbox:
    """Parquet files in a directory, written whole, taken in the order of their names.

    Args:
        directory: Where; made at the first push.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, batch: Batch) -> None:
        write_bytes_whole(self._directory / f"{time.time_ns():020d}-{batch.id}.parquet", batch.to_bytes())

    def waiting(self, wait_s: float) -> list[Delivery]:
        until = time.monotonic() + wait_s
        while not (paths := sorted(self._directory.glob("[0-9]*.parquet"))[:_READ_AT_ONCE]):
            if time.monotonic() >= until:
                return []
            time.sleep(_POLL_S)
        return [_delivery(path.name, path.read_bytes(), str(path)) for path in paths]

    def confirm(self, delivery: Delivery) -> None:
        (self._directory / delivery.token).unlink(missing_ok=True)


class RedisInbox:
    """A Redis stream with one consumer group.

    Args:
        address: Feast's connection string: ``host:port`` and, after commas, ``db=1``, ``password=…``, ``ssl=true``.
        stream: Name of the stream.
    """

    def __init__(self, address: str, stream: str) -> None:
        self._address = address
        self._stream = stream
        self._client: Redis | None = None

    def put(self, batch: Batch) -> None:
        with self._answering() as client:
            client.xadd(self._stream, {_FIELD: batch.to_bytes()})

    def waiting(self, wait_s: float) -> list[Delivery]:
        from redis import ResponseError

        with self._answering() as client:
            try:
                entries = self._next(client, wait_s)
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                self._make_group(client)  # the server was emptied under a running consumer
                entries = self._next(client, wait_s)
        return [
            _delivery(token.decode(), fields.get(_FIELD, b""), f"{self._stream} {token.decode()}")
            for token, fields in entries
        ]

    def confirm(self, delivery: Delivery) -> None:
        with self._answering() as client, client.pipeline(transaction=True) as pipeline:
            pipeline.xack(self._stream, _GROUP, delivery.token)
            pipeline.xdel(self._stream, delivery.token)
            pipeline.execute()

    def _next(self, client: "Redis", wait_s: float) -> list[tuple[bytes, dict[bytes, bytes]]]:
        # What was handed out before and not confirmed comes first: the consumer before this one was killed.
        return self._read(client, "0", None) or self._read(client, ">", max(1, int(wait_s * 1000)))

    def _read(self, client: "Redis", after: str, block_ms: int | None) -> list[tuple[bytes, dict[bytes, bytes]]]:
        answer: Any = client.xreadgroup(_GROUP, "consumer", {self._stream: after}, count=_READ_AT_ONCE, block=block_ms)
        return [(token, fields or {}) for token, fields in answer[0][1]] if answer else []

    def _make_group(self, client: "Redis") -> None:
        from redis import ResponseError

        with contextlib.suppress(ResponseError):  # the group is there already
            client.xgroup_create(self._stream, _GROUP, id="0", mkstream=True)

    @contextlib.contextmanager
    def _answering(self) -> Iterator["Redis"]:
        from redis import ConnectionError as Unreachable
        from redis import Redis

        try:
            if self._client is None:
                client = Redis(**_redis_options(self._address))
                self._make_group(client)
                self._client = client
            yield self._client
        except Unreachable as error:
            raise ServiceUnavailable(
                "setting BACKBEAT_REDIS_URL",
                found=str(error).splitlines()[0],
                expected="a Redis server that answers, and keeps what is pushed until it is taken in",
                next_step="start it, or correct the address, then run the same command again",
            ) from None


def _redis_options(address: str) -> dict[str, Any]:
    """Arguments of the client for Feast's kind of connection string."""
    server, *options = address.split(",")
    host, _, port = server.rpartition(":")
    read = {"true": True, "false": False}
    named = dict(option.split("=", 1) for option in options if "=" in option)
    return {"host": host, "port": int(port), **{name: read.get(value.lower(), value) for name, value in named.items()}}


def _delivery(token: str, data: bytes, where: str) -> Delivery:
    try:
        return Delivery(token, Batch.from_bytes(data, where))
    except BadInput as fault:
        return Delivery(token, None, fault, data)
