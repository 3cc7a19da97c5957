"""The memory cap: sizes as people write them, chunks that fit, and a process that stays below it."""

import subprocess
import sys
from pathlib import Path

import pytest

from contracts.errors import BadInput
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.materialization.memory import DEFAULT_MEMORY, chunk_bytes_below, memory_text, parse_memory


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GiB", 2**31), ("512 MiB", 2**29), ("1.5gb", 1_500_000_000), ("1000000", 10**6), (" 3 kib ", 3072), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "2 GiBs", "much", "-1GiB", "0", "1e9", "GiB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(BadInput, match=r"option --memory: found '.*'; expected a size such as 2GiB"):
        parse_memory(text)


def test_sizes_for_people() -> None:
    assert [memory_text(size) for size in (2**29, DEFAULT_MEMORY, 3 * 2**29)] == ["512 MiB", "2 GiB", "1.5 GiB"]


def test_more_memory_gives_larger_chunks_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_repo.materialization.memory._resident", lambda: 2**29)
    sizes = [chunk_bytes_below(memory * 2**30, 0, 0) for memory in (2, 4, 100)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == chunk_bytes_below(200 * 2**30, 0, 0)
    with pytest.raises(BadInput, match=r"option --memory: found 1 MiB; expected at least [\d,.]+ [MG]iB for these"):
        chunk_bytes_below(2**20, 0, 0)


def test_a_process_that_holds_much_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_repo.materialization.memory._resident", lambda: 3 * 2**30)
    assert chunk_bytes_below(None, 0, 0) > 2**26 / 2, "by default there is room for chunks beside what it holds"
    with pytest.raises(BadInput, match=r"found 2 GiB; expected at least 3.19 GiB .* --memory 5GiB`"):
        chunk_bytes_below(DEFAULT_MEMORY, 0, 0)
    assert chunk_bytes_below(5 * 2**30, 0, 0) > 0


SCRIPT = """
import sys
from contracts.process import prepare_process
prepare_process(threads=1)
from dataclasses import replace
from pathlib import Path
from contracts.home import Home
from contracts.settings import load_settings
from feature_repo.materialization import run
from feature_repo.materialize import materialize
settings = load_settings(home=sys.argv[1])
path = Path(sys.argv[2])
inner = run.sources_of
run.sources_of = lambda *arguments: [replace(source, path=path) for source in inner(*arguments)]
done = materialize(settings, Home.open(settings), views=[sys.argv[3]], memory=int(sys.argv[4]))
print(done["job"]["peak_memory"], done["job"]["rows"], done["job"]["total"])
"""


def test_a_view_larger_than_the_cap_leaves_room_for_stays_below_it(
    ready: tuple[Settings, Home], tmp_path: Path
) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from contracts.clock import utc_now
    from contracts.tables import TIMESTAMP
    from feature_repo.offline import current_snapshot

    spec = current_snapshot(ready[1]).embeddings["visual"]
    width, group = spec.width, 2_560_000 // spec.width
    rows = 13 * group
    rng = np.random.default_rng(0)
    path, moment = tmp_path / "wide.parquet", pa.scalar(utc_now(), TIMESTAMP)
    values = pa.array(rng.random(group * width, np.float32))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(group + 1, dtype=np.int32) * width), values)
    times = pa.array([moment] * group)
    schema = pa.schema(
        [("video_id", pa.string()), ("vector", lists.type), ("event_time", TIMESTAMP), ("ingested_at", TIMESTAMP)]
    )
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for begin in range(0, rows, group):
            ids = pa.array([f"v{number:07}" for number in range(begin, begin + group)])
            writer.write_table(pa.table([ids, lists, times, times], schema=schema))
    assert path.stat().st_size > 120 * 2**20
    cap = 704 * 2**20
    command = [sys.executable, "-c", SCRIPT, str(ready[1].root), str(path), spec.view, str(cap)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    peak, written, chunks = (int(number) for number in told)
    assert written == rows
    assert chunks > 3
    assert 0 < peak < cap
