"""Feast's Redis online store, made to keep the newest row, to heed the TTL, and to move whole columns.

The layout is Feast's: a hash per entity, in it a field per feature and the event time under ``_ts:<view>``, so that
Feast's own store reads what this one wrote. One field more, ``_known:<view>``, has event and ingestion time to the
microsecond. A Lua script compares them and writes, so that nothing can come between.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key_prefix
from feast.infra.online_stores.helpers import _mmh3, compute_versioned_name
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, RedisType
from feast.protos.feast.types.Value_pb2 import Value

from contracts.errors import BadInput
from feature_repo.stores.byte_columns import by_size, fixed_bytes, join_bytes, varint_bytes
from feature_repo.stores.columnar import ColumnarOnlineStore
from feature_repo.stores.rows import ABSENT, FeastRow, Fetched, PackedRows, instant, oldest_allowed

__all__ = ["REDIS_STORE_TYPE", "NewestRedisOnlineStore", "NewestRedisOnlineStoreConfig"]

REDIS_STORE_TYPE: Final = "feature_repo.stores.redis.NewestRedisOnlineStore"
"""How Feast's configuration names the store below."""

_BATCH_BYTES = 512 * 1024  # one script call holds the server for about as many microseconds as it has kilobytes
_BATCH_ROWS = 1_000
_IN_FLIGHT = 4
_KNOWN = np.dtype([("event_s", ">i8"), ("event_us", ">u4"), ("known_s", ">i8"), ("known_us", ">u4")])
_WRITE: Final = """
local call = redis.call
local function moment(packed)  -- Feast's Timestamp message: seconds, nanoseconds
  local parts, at = {0, 0}, 1
  while at <= #packed do
    local field, value, unit = (string.byte(packed, at) - string.byte(packed, at) % 8) / 8, 0, 1
    repeat
      at = at + 1
      local byte = string.byte(packed, at)
      value, unit = value + byte % 128 * unit, unit * 128
    until byte < 128
    if value >= 2^63 then value = value - 2^64 end
    parts[field], at = value, at + 1
  end
  return parts[1], parts[2] / 1000
end
local function older(known, old_time, old_known)
  local s, us, known_s, known_us = struct.unpack('>i8I4i8I4', known)
  local old_s, old_us, old_known_s, old_known_us
  if old_known and string.sub(old_known, 25) == old_time then
    old_s, old_us, old_known_s, old_known_us = struct.unpack('>i8I4i8I4', old_known)
  else  -- written by Feast's own store since
    old_s, old_us = moment(old_time)
    old_known_s, old_known_us = -math.huge, 0
  end
  if s ~= old_s then return s < old_s end
  if us ~= old_us then return us < old_us end
  if known_s ~= old_known_s then return known_s < old_known_s end
  return known_us < old_known_us
end
local time_field, known_field, expire, features = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local row, at, written = {'', time_field, '', known_field, ''}, 4 + features, 0
for j = 1, features do row[4 + 2 * j] = ARGV[4 + j] end
for i = 1, #KEYS do
  local key, time, known = KEYS[i], ARGV[at + 1], ARGV[at + 2]
  local old = call('HGET', key, time_field)
  if not (old and older(known, old, call('HGET', key, known_field))) then
    row[1], row[3], row[5] = key, time, known
    for j = 1, features do row[5 + 2 * j] = ARGV[at + 2 + j] end
    call('HSET', unpack(row))
    if expire > 0 then call('EXPIRE', key, expire) end
    written = written + 1
  end
  at = at + 2 + features
end
return written
"""


class NewestRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]
    """Same fields as Feast's own; Feast finds this class by its name."""

    type: Literal["feature_repo.stores.redis.NewestRedisOnlineStore"] = REDIS_STORE_TYPE


class NewestRedisOnlineStore(ColumnarOnlineStore, RedisOnlineStore):  # type: ignore[misc]
    """Safe to share by threads: each call takes a connection of its own from the client's pool."""

    def __init__(self) -> None:
        self._views: dict[str, FeatureView] = {}

    def store_rows(self, config: RepoConfig, view: FeatureView, rows: PackedRows) -> int:
        """Write rows, some hundred in each script call; every row whole or not at all."""
        client = self._pooled(config)
        name = _name(config, view)
        seconds, micros = np.divmod(rows.event, 1_000_000)
        times = _timestamps(seconds, micros)
        known = np.empty(len(seconds), _KNOWN)
        known["event_s"], known["event_us"] = seconds, micros
        known["known_s"], known["known_us"] = np.divmod(rows.known, 1_000_000)
        keys = _bulks(join_bytes(rows.keys, config.project.encode()))
        values = _bulks(times, join_bytes(fixed_bytes(known), times), *rows.columns.values())
        features = [_mmh3(f"{name}:{feature}") for feature in rows.columns]
        expire = str(config.online_store.key_ttl_seconds or 0).encode()
        head = [f"_ts:{name}".encode(), f"_known:{name}".encode(), expire, b"%d" % len(features), *features]
        sha = client.script_load(_WRITE).encode()
        arguments = b"".join(map(_bulk, head))

        def command(first: int, last: int) -> list[Any]:
            count = last - first
            size = 3 + count + len(head) + count * (2 + len(features))
            start = b"*%d\r\n$7\r\nEVALSHA\r\n%b%b" % (size, _bulk(sha), _bulk(b"%d" % count))
            return [start, _run(keys, first, last), arguments, _run(values, first, last)]

        written, waiting = 0, 0
        with _connection(client) as connection:
            for first, last in _batches(values):
                connection.send_packed_command(command(first, last))
                waiting += 1
                if waiting == _IN_FLIGHT:
                    written += connection.read_response()
                    waiting -= 1
            for _ in range(waiting):
                written += connection.read_response()
        return written

    def fetch_rows(
        self, config: RepoConfig, view: FeatureView, keys: pa.LargeBinaryArray, features: Sequence[str], times: bool
    ) -> Fetched:
        """Look rows up by key, all in one round trip."""
        if not len(keys):
            return Fetched([], np.empty(0, np.int64))
        name, project = _name(config, view), config.project.encode()
        fields = [_mmh3(f"{name}:{feature}") for feature in features] + [f"_ts:{name}".encode()] * times
        command = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + len(fields))
        heads = by_size(_sizes(keys) + len(project), lambda size: command + b"$%d\r\n" % size)
        commands = join_bytes(heads, keys, project + b"\r\n" + b"".join(map(_bulk, fields)))
        with _connection(self._pooled(config)) as connection:
            connection.send_packed_command([_run(commands, 0, len(keys))])
            rows = _replies(connection, len(keys))
        if not times:
            return Fetched(rows, None)
        return Fetched([row[:-1] for row in rows], _moments([row[-1] for row in rows]))

    async def online_write_batch_async(
        self, config: RepoConfig, table: FeatureView, data: list[FeastRow], progress: Callable[[int], Any] | None
    ) -> None:
        """As :meth:`online_write_batch`, in a thread; Feast's own would not compare."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def delete_table(self, config: RepoConfig, table: FeatureView) -> None:
        """Remove the rows of one view."""
        name = _name(config, table)
        fields = [_mmh3(f"{name}:{feature.name}") for feature in table.features]
        fields += [f"_ts:{name}".encode(), f"_known:{name}".encode()]
        client = self._pooled(config)
        pattern = serialize_entity_key_prefix(table.join_keys) + b"*" + config.project.encode()
        with client.pipeline(transaction=False) as pipe:
            for number, key in enumerate(client.scan_iter(pattern, count=1_000), start=1):
                pipe.hdel(key, *fields)
                if not number % 1_000:
                    pipe.execute()
            pipe.execute()

    def _generate_hset_keys_for_features(
        self,
        feature_view: FeatureView,
        requested_features: list[str] | None = None,
        fv_name_override: str | None = None,
    ) -> tuple[list[str], list[str | bytes]]:
        self._views[fv_name_override or feature_view.name] = feature_view  # whose TTL the rows below are held to
        wanted = list(requested_features) if requested_features else None
        keys: tuple[list[str], list[str | bytes]] = super()._generate_hset_keys_for_features(
            feature_view, wanted, fv_name_override
        )
        return keys

    def _convert_redis_values_to_protobuf(
        self, redis_values: Sequence[Sequence[bytes | None]], feature_view: str, requested_features: list[str]
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        oldest = oldest_allowed(self._views[feature_view], None)
        moments = _moments([values[-1] for values in redis_values]).tolist()
        rows: list[tuple[datetime | None, dict[str, Value] | None]] = []
        for moment, values in zip(moments, redis_values, strict=True):
            if moment < oldest:
                rows.append((None, None))
                continue
            names = requested_features[: len(values) - 1]
            messages = {name: Value.FromString(v or b"") for name, v in zip(names, values[:-1], strict=True)}
            rows.append((instant(moment), messages))
        return rows

    def _pooled(self, config: RepoConfig) -> Any:
        if config.online_store.redis_type == RedisType.redis_cluster:
            raise BadInput(
                "online_store.redis_type",
                found="redis_cluster",
                expected="redis or redis_sentinel: one script call writes rows of several slots",
                next_step="set redis_type, or use Feast's own store `redis`",
            )
        return self._get_client(config.online_store)


@contextmanager
def _connection(client: Any) -> Iterator[Any]:
    """A connection of the pool; closed where replies may be left in it."""
    connection = client.connection_pool.get_connection()
    try:
        yield connection
    except BaseException:
        connection.disconnect()
        raise
    finally:
        client.connection_pool.release(connection)


def _name(config: RepoConfig, view: FeatureView) -> str:
    return str(compute_versioned_name(view, config.registry.enable_online_feature_view_versioning))


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _bulks(*columns: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    """Columns as bulk strings of Redis's protocol, those of a row one after the other."""
    parts: list[Any] = []
    for column in columns:
        parts += [by_size(_sizes(column), lambda size: b"$%d\r\n" % size), column, b"\r\n"]
    return join_bytes(*parts)


def _replies(connection: Any, count: int) -> list[list[bytes | None]]:
    """Replies that are arrays; straight from hiredis where redis-py has it, whose wrapping takes half of the time."""
    reader = getattr(getattr(connection, "_parser", None), "_reader", None)
    take = getattr(reader, "gets", connection.read_response)
    replies = []
    for _ in range(count):
        reply = take()
        if type(reply) is not list:
            if isinstance(reply, Exception):
                raise reply
            reply = connection.read_response()  # hiredis has to be fed first
        replies.append(reply)
    return replies


def _sizes(column: pa.LargeBinaryArray) -> npt.NDArray[np.int64]:
    return np.diff(_offsets(column))


def _offsets(column: pa.LargeBinaryArray) -> npt.NDArray[np.int64]:
    return np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]


def _run(column: pa.LargeBinaryArray, first: int, last: int) -> memoryview:
    offsets = _offsets(column)
    return memoryview(column.buffers()[2])[offsets[first] : offsets[last]]


def _batches(values: pa.LargeBinaryArray) -> Iterator[tuple[int, int]]:
    """Runs of rows of at most ``_BATCH_BYTES`` and ``_BATCH_ROWS``, at least one row each."""
    offsets, first = _offsets(values), 0
    while first < len(values):
        last = int(np.searchsorted(offsets, offsets[first] + _BATCH_BYTES, side="right")) - 1
        last = min(max(last, first + 1), first + _BATCH_ROWS, len(values))
        yield first, last
        first = last


def _timestamps(seconds: npt.NDArray[np.int64], micros: npt.NDArray[np.int64]) -> pa.LargeBinaryArray:
    """Serialized ``google.protobuf.Timestamp`` messages; a part that is zero is left out."""
    nothing = pa.scalar(b"", pa.large_binary())
    parts = [
        pc.if_else(pa.array(numbers != 0), join_bytes(tag, varint_bytes(numbers)), nothing)
        for tag, numbers in ((b"\x08", seconds), (b"\x10", micros * 1_000))
    ]
    return join_bytes(*parts)


def _moments(messages: Sequence[bytes | None]) -> npt.NDArray[np.int64]:
    """Microseconds of serialized ``Timestamp`` messages; ``ABSENT`` for None."""
    sizes = np.fromiter((-1 if each is None else len(each) for each in messages), np.int64, len(messages))
    width = int(sizes.max(initial=0))
    parts = np.zeros((3, len(messages)), np.uint64)
    if width > 0:
        table = np.array([each or b"" for each in messages], f"S{width}").view(np.uint8).reshape(-1, width)
        field, shift = np.zeros(len(messages), np.int64), np.zeros(len(messages), np.uint64)
        row = np.arange(len(messages))
        for column, byte in enumerate(table.T):  # one byte of every message at a time
            inside = column < sizes
            tag, digit = inside & (field == 0), inside & (field > 0)
            parts[field[digit], row[digit]] |= (byte[digit] & np.uint64(0x7F)) << shift[digit]
            shift[digit] += np.uint64(7)
            field[digit & (byte < 0x80)] = 0
            field[tag], shift[tag] = byte[tag] >> 3, 0
    signed = parts.view(np.int64)
    return np.where(sizes < 0, ABSENT, signed[1] * 1_000_000 + signed[2] // 1_000)
