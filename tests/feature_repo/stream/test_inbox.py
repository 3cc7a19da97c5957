"""What waits for the consumer is handed out until it is confirmed, by either kind of inbox."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from contracts.errors import BadInput, ServiceUnavailable
from contracts.home import Home
from contracts.settings import Settings, load_settings
from contracts.tables import USERS
from feature_repo.raw_tables import microseconds, table_of
from feature_repo.stream.batch import Batch, new_batch_id
from feature_repo.stream.inbox import DirectoryInbox, Inbox, RedisInbox, open_inbox

REDIS = "127.0.0.1:6379"
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def batch_of(*users: str, batch_id: str | None = None) -> Batch:
    rows = table_of(USERS, np.full(len(users), microseconds(NOON)), user_id=pa.array(users, pa.string()))
    return Batch(batch_id or new_batch_id(), "simulated", "users", rows)


@pytest.fixture
def redis_stream(redis_address: str) -> Iterator[str]:
    import redis

    stream = f"backbeat-test:{uuid.uuid4().hex}"
    yield stream
    redis.Redis.from_url(f"redis://{redis_address}").delete(stream)


@pytest.fixture(params=["directory", pytest.param("redis", marks=pytest.mark.service)])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Inbox]:
    """Opens the same inbox anew, as the next process would."""
    if request.param == "directory":
        return lambda: DirectoryInbox(tmp_path / "inbox")
    stream = request.getfixturevalue("redis_stream")
    return lambda: RedisInbox(REDIS, stream)


def test_batches_wait_in_order_until_confirmed(reopen: Callable[[], Inbox]) -> None:
    pushed = [batch_of("u1", "u2"), batch_of("u3"), batch_of("u4")]
    inbox = reopen()
    for batch in pushed:
        inbox.put(batch)
    first = reopen()
    waiting = first.waiting(0)
    assert [delivery.batch for delivery in waiting] == pushed
    first.confirm(waiting[1])
    # The consumer is killed here. The next one is given what was not confirmed, and what came meanwhile.
    later = batch_of("u5")
    inbox.put(later)
    second, seen = reopen(), []
    while found := second.waiting(0):
        seen += [delivery.batch for delivery in found]
        for delivery in found:
            second.confirm(delivery)
    assert seen == [pushed[0], pushed[2], later]
    assert reopen().waiting(0) == []


def test_rows_keep_their_types_and_the_batch_its_name(reopen: Callable[[], Inbox]) -> None:
    batch = batch_of("u1", batch_id="retry-7")
    reopen().put(batch)
    (delivery,) = reopen().waiting(0)
    assert delivery.batch is not None
    assert delivery.batch.rows.schema.equals(USERS)
    assert delivery.batch.id == "retry-7"


def test_what_is_no_batch_is_handed_out_as_a_fault(tmp_path: Path) -> None:
    directory = tmp_path / "inbox"
    directory.mkdir()
    (directory / "00000000000000000001-x.parquet").write_bytes(b"not Parquet")
    inbox = DirectoryInbox(directory)
    (delivery,) = inbox.waiting(0)
    assert delivery.batch is None
    assert delivery.fault is not None
    assert "expected a batch written by `backbeat features push`" in str(delivery.fault)
    assert delivery.data == b"not Parquet"
    inbox.confirm(delivery)
    assert inbox.waiting(0) == []


def test_a_batch_whose_rows_are_of_another_table_is_a_fault() -> None:
    rows = batch_of("u1").rows
    data = Batch("b", "simulated", "videos", rows).to_bytes()
    with pytest.raises(BadInput, match=r"here: found columns .*'user_id'.* for table videos"):
        Batch.from_bytes(data, "here")


@pytest.mark.parametrize("batch_id", ["", "../up", "a b", "x" * 65])
def test_an_id_that_is_no_file_name_is_refused(batch_id: str) -> None:
    with pytest.raises(BadInput, match="expected 1 to 64 letters"):
        Batch(batch_id, "simulated", "users", batch_of("u").rows)


def test_a_directory_hides_what_is_half_written(tmp_path: Path) -> None:
    directory = tmp_path / "inbox"
    directory.mkdir()
    (directory / ".00000000000000000001-x.parquet.1a2b3c4d.partial").write_bytes(b"PAR1")
    assert DirectoryInbox(directory).waiting(0) == []


@pytest.mark.service
def test_a_redis_that_is_away_is_named() -> None:
    with pytest.raises(ServiceUnavailable, match=r"BACKBEAT_REDIS_URL.*a Redis server that answers"):
        RedisInbox("127.0.0.1:1", "stream").put(batch_of("u1"))


@pytest.mark.service
def test_a_redis_that_was_emptied_goes_on(redis_stream: str) -> None:
    import redis

    inbox = RedisInbox(REDIS, redis_stream)
    assert inbox.waiting(0) == []
    redis.Redis.from_url(f"redis://{REDIS}").delete(redis_stream)
    batch = batch_of("u1")
    inbox.put(batch)
    assert [delivery.batch for delivery in inbox.waiting(0)] == [batch]


def test_the_profile_chooses_the_inbox(settings: Settings, home: Home, tmp_path: Path) -> None:
    assert isinstance(open_inbox(settings, home, "a"), DirectoryInbox)
    production = load_settings(home=tmp_path / "home", profile="production", redis_url=f"{REDIS},db=3,ssl=false")
    assert isinstance(open_inbox(production, home, "a"), RedisInbox)


@pytest.mark.parametrize("profile", ["local", pytest.param("production", marks=pytest.mark.service)])
def test_each_data_set_has_an_inbox_of_its_own(tmp_path: Path, profile: str) -> None:
    names = [f"test-{uuid.uuid4().hex}/{part}" for part in "ab"]
    settings = load_settings(home=tmp_path / "home", profile=profile, redis_url=REDIS)
    first, second = (open_inbox(settings, Home.open(settings), name) for name in names)
    batch = batch_of("u1")
    first.put(batch)
    assert second.waiting(0) == []
    (delivery,) = first.waiting(0)
    assert delivery.batch == batch
    first.confirm(delivery)
    if profile == "production":
        import redis

        redis.Redis.from_url(f"redis://{REDIS}").delete(*(f"backbeat:pushed:{name}" for name in names))


@pytest.mark.parametrize(
    ("table", "dataset", "said"),
    [
        ("embedding_../../../pwned", "d", "rows for 'embedding_"),
        ("secrets", "d", "rows for 'secrets'"),
        ("users", "..", "data set '..'"),
    ],
)
def test_names_that_lead_out_of_the_home_are_refused(table: str, dataset: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Batch("b", dataset, table, batch_of("u").rows)
