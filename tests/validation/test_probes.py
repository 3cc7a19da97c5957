"""Probes tell a table of other vectors and an encoder that has drifted; a small ResNet of seeded weights encodes."""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from contracts.database import Database
from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput
from contracts.home import Home
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from feature_repo.encoders import visual
from feature_repo.encoders.encode import encode_snapshot
from feature_repo.encoders.encoding import Encoder, EncoderOptions
from feature_repo.encoders.media import write_clip
from feature_repo.encoders.registry import ENCODERS
from feature_repo.encoders.resnet import ResNet
from feature_repo.offline import read_table
from feature_repo.raw_tables import vector_lists
from tests.feature_repo.encoders.seeded_weights import seeded
from tests.feature_repo.encoders.small_world import write_media, write_world
from validation.golden import GoldenSet, load_golden, save_golden
from validation.probes import GOLDEN, NEWEST, TOLERANCE, Probe, Probed, not_probed, probe_tables

VIDEOS = 14


@dataclass
class World:
    """A home whose videos were encoded, and what tests do with it."""

    settings: Settings
    home: Home
    database: Database
    media: Path
    weights: Path

    def encode(self, videos: int = VIDEOS) -> Snapshot:
        with self.home.writing("test"):
            write_world(self.home, self.media, videos)
        return encode_snapshot(
            self.home, self.database, "resnet50", EncoderOptions(weights=str(self.weights), frames=1)
        ).snapshot

    def forget(self) -> None:
        """Lose the cache, so that everything is encoded anew."""
        for part in (self.home.cache / "encodings").rglob("*.parquet"):
            part.unlink()

    def table(self, snapshot: Snapshot) -> pa.Table:
        return read_table(self.home, snapshot, "embedding_visual")

    def probe(
        self,
        snapshot: Snapshot,
        table: pa.Table | None = None,
        golden: dict[str, GoldenSet] | None = None,
        seconds: float = 60.0,
    ) -> Probed:
        tables = {"embedding_visual": self.table(snapshot) if table is None else table}
        return probe_tables(self.settings, self.home, self.database, snapshot, tables, golden or {}, seconds=seconds)


@pytest.fixture
def world(settings: Settings, home: Home, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """``resnet50`` is a small network here, and its revision a name that says nothing of the weights' file."""

    def build(options: EncoderOptions) -> visual.VisualEncoding:
        return visual.VisualEncoding("resnet50", options, ResNet(width=2))

    monkeypatch.setitem(ENCODERS, "resnet50", Encoder("resnet50", ("video", "post"), "visual", build, "images"))
    monkeypatch.setattr(visual, "weights_revision", lambda path: "v1")
    weights = tmp_path / "small.safetensors"
    save_file(seeded(ResNet(width=2)), weights)
    write_media(tmp_path / "media", VIDEOS + 4)
    return World(settings, home, database, tmp_path / "media", weights)


def with_vectors(table: pa.Table, matrix: np.ndarray) -> pa.Table:
    place = table.schema.get_field_index("vector")
    return table.set_column(place, table.schema.field("vector"), vector_lists(matrix.astype(np.float32)))


def matrix_of(table: pa.Table) -> np.ndarray:
    return np.stack(table["vector"].to_numpy())


def one(probed: Probed) -> Probe:
    assert list(probed.probes) == ["visual"]
    return probed.probes["visual"]


def test_a_sound_table_comes_out_as_it_is_stored(world: World) -> None:
    snapshot = world.encode()
    first = world.probe(snapshot)
    probe = one(first)
    assert (probe.probed, probe.drift, probe.compared, probe.reason) == (GOLDEN + NEWEST, None, 0, None)
    assert (probe.farthest, probe.moved, probe.stale, probe.unread) == ((), (), (), ())
    assert probe.worst is not None
    assert probe.worst < 1e-4
    again = world.probe(snapshot, golden=first.golden)
    assert (one(again).drift, one(again).compared) == (0, GOLDEN)
    assert "12 items encoded again" in one(again).text


def test_golden_items_stay_when_others_come_and_the_newest_are_probed_too(world: World) -> None:
    first = world.probe(world.encode(VIDEOS))
    snapshot = world.encode(VIDEOS + 4)
    table = world.table(snapshot)
    second = world.probe(snapshot, golden=first.golden)
    (before,), (after,) = first.golden.values(), second.golden.values()
    assert before.ids == after.ids
    assert not set(before.ids) & {f"v{number}" for number in range(VIDEOS, VIDEOS + 4)}
    matrix = matrix_of(table)
    matrix[VIDEOS:] = matrix[:4]  # what is new has vectors of others
    broken = one(world.probe(snapshot, with_vectors(table, matrix), first.golden))
    assert {item_id for item_id, _ in broken.farthest} == {f"v{number}" for number in range(VIDEOS, VIDEOS + 4)}
    assert one(second).worst == pytest.approx(0, abs=1e-4)


def test_a_table_shifted_by_one_row_is_told_and_where_the_vectors_are(world: World) -> None:
    snapshot = world.encode()
    table = world.table(snapshot)
    probe = one(world.probe(snapshot, with_vectors(table, np.roll(matrix_of(table), 1, axis=0))))
    assert probe.worst is not None
    assert probe.median is not None
    assert probe.median > 10 * TOLERANCE
    assert len(probe.farthest) == GOLDEN + NEWEST
    assert {int(other[1:]) - int(item_id[1:]) for item_id, other in probe.moved} <= {1, 1 - VIDEOS}
    assert len(probe.moved) == GOLDEN + NEWEST
    assert "stands at" in probe.text


def test_other_weights_under_the_same_revision(world: World) -> None:
    snapshot = world.encode()
    first = world.probe(snapshot)
    save_file(seeded(ResNet(width=2), seed=1), world.weights)
    stored = one(world.probe(snapshot, golden=first.golden))
    assert stored.worst is not None
    assert stored.drift is not None
    assert min(stored.worst, stored.drift) > 10 * TOLERANCE
    world.forget()
    anew = world.encode()
    assert (anew.embeddings, anew.id == snapshot.id) == (snapshot.embeddings, False)
    unseen = one(world.probe(anew))
    assert unseen.worst is not None
    assert unseen.worst < TOLERANCE, "table and encoder agree: only last time tells"
    told = one(world.probe(anew, golden=first.golden))
    assert told.drift is not None
    assert told.drift > 10 * TOLERANCE
    assert len(told.farthest) == GOLDEN


def test_another_preprocessing_that_the_spec_does_not_tell(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.probe(world.encode())
    monkeypatch.setattr(visual, "_STD", torch.full((3, 1, 1), 0.25))
    world.forget()
    told = one(world.probe(world.encode(), golden=first.golden))
    assert told.drift is not None
    assert told.worst is not None
    assert told.worst < TOLERANCE < told.drift


def test_slow_drift_is_measured_from_the_first_accepted_encoding(world: World) -> None:
    snapshot = world.encode()
    first = world.probe(snapshot).golden
    ((digest, anchor),) = first.items()
    spread = matrix_of(world.table(snapshot)).std(axis=0)
    little = {digest: replace(anchor, vectors=(anchor.vectors + 0.5 * TOLERANCE * spread).astype(np.float32))}
    kept = world.probe(snapshot, golden=little).golden[digest]
    np.testing.assert_array_equal(kept.vectors, little[digest].vectors)
    much = {digest: replace(anchor, vectors=(anchor.vectors + 5 * TOLERANCE * spread).astype(np.float32))}
    probed = world.probe(snapshot, golden=much)
    assert one(probed).drift == pytest.approx(5 * TOLERANCE, rel=0.05)
    np.testing.assert_array_equal(probed.golden[digest].vectors, anchor.vectors)  # once a person has accepted it


def test_media_that_changed_or_are_gone_are_said_and_not_judged(world: World) -> None:
    snapshot = world.encode()
    first = world.probe(snapshot)
    (golden,) = first.golden.values()
    changed, gone = golden.ids[:2]
    write_clip(world.media / f"{changed}.mp4", [np.full((32, 32, 3), 255, np.uint8)] * 3)
    (world.media / f"{gone}.mp4").unlink()
    probed = world.probe(snapshot, golden=first.golden)
    probe = one(probed)
    assert (probe.stale, probe.unread) == ((changed,), ((gone, f"{gone}.mp4: no such file"),))
    assert (probe.probed, probe.compared) == (GOLDEN + NEWEST - 1, GOLDEN - 2)
    assert probe.worst is not None
    assert probe.worst < 1e-4
    assert "changed since they were encoded" in probe.text
    (kept,) = probed.golden.values()
    assert kept.ids == golden.ids
    assert kept.contents[0] != golden.contents[0], "the changed one starts anew"
    assert kept.contents[1:] == golden.contents[1:]
    world.media.rename(world.media.with_name("moved"))
    nothing = world.probe(snapshot, golden=first.golden)
    assert one(nothing).reason is not None
    assert "no directory" in one(nothing).text
    assert nothing.golden == first.golden


@pytest.mark.parametrize("fault", ["NaN", "other width", "empty", "one row", "all alike", "one id"])
def test_tables_that_are_hardly_any_give_a_probe(world: World, fault: str) -> None:
    snapshot = world.encode()
    table = world.table(snapshot)
    matrix = matrix_of(table)
    probed = {
        "NaN": lambda: with_vectors(table, matrix * np.nan),
        "other width": lambda: with_vectors(table, matrix[:, :5]),
        "empty": lambda: table.slice(0, 0),
        "one row": lambda: table.slice(3, 1),
        "all alike": lambda: with_vectors(table, np.tile(matrix[:1], (VIDEOS, 1))),
        "one id": lambda: table.set_column(0, table.schema.field(0), pa.array(["v0"] * VIDEOS)),
    }[fault]()
    probe = one(world.probe(snapshot, probed))
    if fault in ("NaN", "other width"):
        assert (probe.probed, probe.worst) == (GOLDEN + NEWEST, None)
    elif fault == "empty":
        assert probe.reason == "no item of the table has text or media that its encoder reads"
    elif fault == "one row":
        assert (probe.probed, probe.farthest) == (1, ())
    elif fault == "one id":
        assert probe.moved == ()
        assert [item_id for item_id, _ in probe.farthest] == ["v0"], "its newest row is another's"
    else:
        assert len(probe.farthest) >= GOLDEN + NEWEST - 1


def test_nothing_more_is_begun_when_the_time_is_over(world: World) -> None:
    assert one(world.probe(world.encode(), seconds=0)).probed == 1


def test_what_cannot_be_loaded_is_a_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = world.encode()
    first = world.probe(snapshot)

    def broken(options: EncoderOptions) -> visual.VisualEncoding:
        raise RuntimeError("out of memory")

    monkeypatch.setitem(ENCODERS, "resnet50", replace(ENCODERS["resnet50"], build=broken))
    probed = world.probe(snapshot, golden=first.golden)
    assert one(probed).text == "not probed: its encoder cannot be loaded: RuntimeError: out of memory"
    assert probed.golden == first.golden
    monkeypatch.undo()
    world.weights.unlink()
    assert "small.safetensors" in one(world.probe(snapshot)).text


def test_golden_items_are_kept_and_carried_on(world: World, tmp_path: Path) -> None:
    snapshot = world.encode()
    golden = world.probe(snapshot).golden
    (tmp_path / "report").mkdir()
    save_golden(golden, tmp_path / "report")
    loaded = load_golden(tmp_path / "report")
    assert loaded.keys() == golden.keys()
    for digest, items in golden.items():
        assert (loaded[digest].ids, loaded[digest].contents) == (items.ids, items.contents)
        np.testing.assert_array_equal(loaded[digest].vectors, items.vectors)
    left_out = not_probed(snapshot, {**loaded, "of another spec": loaded[digest]}, "left out")
    assert left_out.golden == loaded
    assert left_out.probes["visual"].text == "not probed: left out"
    path = next((tmp_path / "report").rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(BadInput, match="damaged file"):
        load_golden(tmp_path / "report")
    assert load_golden(tmp_path) == {}
    save_golden({}, tmp_path)
    assert load_golden(tmp_path) == {}


def test_ready_made_vectors_are_not_probed_and_load_no_torch(
    settings: Settings, home: Home, database: Database, data
) -> None:
    snapshot: Snapshot = data.ingest(home)
    assert {type(spec) for spec in snapshot.embeddings.values()} == {EmbeddingSpec}
    script = (
        "import sys; from pathlib import Path; from contracts.settings import load_settings\n"
        "from contracts.database import Database; from contracts.home import Home\n"
        "from feature_repo.offline import current_snapshot; from validation.probes import probe_tables\n"
        f"s = load_settings(home=Path({str(home.root)!r})); h = Home.open(s)\n"
        "for p in probe_tables(s, h, Database(s, h), current_snapshot(h), {}, {}).probes.values(): print(p.text)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    said = "not probed: encoder of {}: ready-made vectors of 'test', which no job here has made"
    assert done.stdout.splitlines() == [said.format("acoustic"), said.format("visual"), "False"]
