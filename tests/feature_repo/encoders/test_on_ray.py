"""Encoding as tasks on a Ray cluster beside encoding here."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backbeat.cli import app
from contracts.cluster import Cluster
from contracts.database import Database
from contracts.errors import Conflict, ItemsSkipped, NotFound
from contracts.home import Home
from contracts.jobs import find_job
from contracts.settings import Settings, load_settings
from contracts.snapshot import Snapshot
from feature_repo.encoders.encode import encode_snapshot
from feature_repo.encoders.encoding import Encoder, EncoderOptions, Fault, MediaItem, Vectors
from feature_repo.encoders.on_ray import encoded_on_ray
from feature_repo.encoders.registry import ENCODERS
from feature_repo.encoders.work import EncodeWork
from feature_repo.offline import read_table
from tests.feature_repo.encoders.small_world import Grey, write_media, write_world

pytestmark = pytest.mark.usefixtures("ray_cluster")
OPTIONS = EncoderOptions(batch=2, threads=1)


@dataclass
class Fallible(Grey):
    """Its worker dies at item v3, once for each mark that is not there yet."""

    mark: Path | None = None

    def encode(self, batch: Sequence[MediaItem]) -> tuple[Vectors, list[Fault | None]]:
        if self.mark is not None and not self.mark.exists() and any(item.id == "v3" for item in batch):
            self.mark.write_text(str(os.getpid()))
            os._exit(1)
        return super().encode(batch)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put an encoder ``grey`` into the registry."""

    def add(build: Any) -> None:
        monkeypatch.setitem(ENCODERS, "grey", Encoder("grey", ("video", "post"), "visual", build, "images"))

    return add


@pytest.fixture
def snapshot(home: Home, tmp_path: Path) -> Snapshot:
    """Six videos, one of whose clips is no clip."""
    write_media(tmp_path / "media", 6)
    (tmp_path / "media" / "v4.mp4").write_bytes(b"no clip")
    with home.writing("test"):
        return write_world(home, tmp_path / "media")


def test_equal_rows_and_faults_here_and_on_a_cluster(
    settings: Settings, home: Home, database: Database, snapshot: Snapshot, tmp_path: Path, register: Any
) -> None:
    register(Grey)
    there = encode_snapshot(home, database, "grey", OPTIONS, cluster=settings)
    rows = read_table(home, there.snapshot, "embedding_visual")
    assert rows["video_id"].to_pylist() == ["v0", "v1", "v2", "v3", "v5"]
    assert (there.encoded, [fault["id"] for fault in there.faults]) == (5, ["v4"])
    assert find_job(database, there.job).parameters["on"] == "ray"

    other = Home.open(settings.model_copy(update={"home": tmp_path / "other"}))
    with other.writing("test"):
        assert write_world(other, tmp_path / "media").id == snapshot.id
    here = encode_snapshot(other, database, "grey", OPTIONS)
    assert read_table(other, here.snapshot, "embedding_visual").equals(rows)
    assert (here.snapshot.id, here.faults) == (there.snapshot.id, there.faults)
    assert encode_snapshot(home, database, "grey", OPTIONS, cluster=settings).skipped == 5


def test_a_task_whose_worker_dies_is_started_again(
    settings: Settings, home: Home, database: Database, snapshot: Snapshot, tmp_path: Path, register: Any
) -> None:
    register(partial(Fallible, revision="fallible", mark=tmp_path / "died"))
    done = encode_snapshot(home, database, "grey", OPTIONS, cluster=settings)
    assert (tmp_path / "died").exists()
    assert (done.encoded, len(done.faults)) == (5, 1)


def test_a_node_with_other_weights_is_refused(
    settings: Settings, home: Home, database: Database, snapshot: Snapshot, tmp_path: Path
) -> None:
    encoder = Encoder("grey", ("video",), "visual", Grey, "images")
    item = MediaItem("video", "v0", None, (), tmp_path / "media" / "v0.mp4")
    with pytest.raises(Conflict, match=r"grey on a node of the cluster: found spec .*; expected spec 0123"):
        list(encoded_on_ray(settings, encoder, "video", "0123", OPTIONS, [[(0, item)]]))


def test_a_gpu_that_no_node_has(settings: Settings) -> None:
    encoder = Encoder("grey", ("video",), "visual", Grey, "images")
    with pytest.raises(NotFound, match="device 'cuda' on Ray: found no GPU on any node"):
        list(encoded_on_ray(settings.model_copy(update={"device": "cuda"}), encoder, "video", "", OPTIONS, []))


def test_the_command_goes_to_the_cluster(
    home: Home, database: Database, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, register: Any
) -> None:
    register(Grey)
    sent: list[int] = []
    each = Cluster.each
    monkeypatch.setattr(Cluster, "each", lambda *args, **options: sent.append(1) or each(*args, **options))
    arguments = ["features", "encode", "grey", "--batch", "4", "--device", "cpu", "--json", "--home", str(home.root)]
    done = CliRunner().invoke(app, [*arguments, "--on", "ray"])
    assert done.exit_code == ItemsSkipped.exit_code, done.output
    assert json.loads(done.stdout)["encoded"] == 5
    assert sent == [1]
    kept = find_job(database, json.loads(done.stdout)["job"]).parameters
    assert EncodeWork.of_job(load_settings(home=home.root), home, kept).cluster is not None, (
        "resumed, it goes there too"
    )
