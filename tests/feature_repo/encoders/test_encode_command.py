"""`backbeat features encode` and `use` as a user types them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import save_file
from typer.testing import CliRunner

from contracts.errors import BackbeatError, BadInput, ItemsSkipped, NotFound
from contracts.home import Home
from feature_repo.commands import features
from feature_repo.encoders.registry import ENCODERS
from feature_repo.encoders.resnet import ResNet
from feature_repo.offline import current_snapshot, read_table
from tests.feature_repo.encoders.seeded_weights import seeded
from tests.feature_repo.encoders.small_world import grey_encoder, write_media, write_world

REPOSITORY = Path(__file__).resolve().parents[3]

app = typer.Typer()
app.add_typer(features, name="features")


def run(home: Home, *arguments: str, code: int = 0) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["features", *arguments, "--home", str(home.root), "--json"])
    if isinstance(result.exception, BackbeatError):
        raise result.exception
    assert result.exit_code == code, result.output
    return dict(json.loads(result.stdout))


@pytest.fixture
def world(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with media of three videos, and the encoder ``grey``."""
    monkeypatch.setitem(ENCODERS, "grey", grey_encoder([]))
    write_media(tmp_path / "media", 3)
    with home.writing("test"):
        write_world(home, tmp_path / "media", videos=3)
    return home


def test_encode_encode_again_and_switch(world: Home) -> None:
    first = run(world, "encode", "grey", "--batch", "2", "--device", "cpu")
    assert (first["outcome"], first["encoded"], first["skipped"], first["name"]) == ("created", 3, 0, "visual")
    assert first["items_per_s"] > 0
    again = run(world, "encode", "grey")
    assert (again["outcome"], again["encoded"], again["skipped"]) == ("unchanged", 0, 3)
    with pytest.raises(BadInput, match=r"expected preprocessing '2 frames'\. Next: encode with the expected encoder"):
        run(world, "encode", "grey", "--frames", "3")
    beside = run(world, "encode", "grey", "--frames", "3", "--beside")
    assert beside["name"] == f"visual@{beside['digest'][:8]}"
    switched = run(world, "use", "visual", beside["digest"])
    assert (switched["outcome"], switched["before"]) == ("switched", first["digest"])
    assert current_snapshot(world).embeddings["visual"].digest == beside["digest"]
    assert run(world, "use", "visual", beside["digest"][:5])["outcome"] == "unchanged"
    assert run(world, "use", "visual", first["digest"])["snapshot"] == beside["snapshot"]


def test_unreadable_media_are_in_the_exit_code_and_the_document(world: Home, tmp_path: Path) -> None:
    (tmp_path / "media" / "v1.mp4").write_bytes(b"")
    document = run(world, "encode", "grey", code=ItemsSkipped.exit_code)
    assert (document["outcome"], document["encoded"], document["faults"]) == ("created", 2, 1)
    assert document["first_faults"] == [{"id": "v1", "path": "v1.mp4", "reason": "an empty file"}]
    assert document["error"]["code"] == "items_skipped"
    assert json.loads(Path(document["faults_file"]).read_text())["faults"] == document["first_faults"]
    result = CliRunner().invoke(app, ["features", "encode", "grey", "--home", str(world.root)])
    assert result.exit_code == 7
    assert "0 encoded, 2 encoded before, 0 with nothing to encode, 1 unreadable" in result.output
    assert "error: encoding of video with grey: found 1 of 3 items that cannot be read" in result.output


def test_a_paused_encoding_is_resumed_by_its_job(world: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from contracts.database import Database
    from contracts.jobs import list_jobs, pause_job
    from contracts.settings import load_settings
    from feature_repo.encoders import encode as job

    database = Database(load_settings(home=world.root), world)
    real = job.encode_part

    def once(*arguments: Any) -> Any:
        monkeypatch.setattr(job, "encode_part", real)
        pause_job(database, list_jobs(database)[0].id)
        return real(*arguments)

    monkeypatch.setattr(job, "encode_part", once)
    monkeypatch.setattr(job, "_PART_SECONDS", 0.0)
    paused = run(world, "encode", "grey", "--batch", "1")
    assert (paused["outcome"], current_snapshot(world).embeddings) == ("paused", {})
    resumed = run(world, "resume", paused["job"])
    assert (resumed["outcome"], resumed["encoded"], resumed["skipped"]) == ("created", 2, 1)


def test_options_that_cannot_be(world: Home) -> None:
    with pytest.raises(NotFound, match="encoder 'gray': found no encoder of that name; expected 'grey'"):
        run(world, "encode", "gray")
    with pytest.raises(BadInput, match="option --available-from: found 'soon'"):
        run(world, "encode", "grey", "--available-from", "soon")
    with pytest.raises(BadInput, match="timestamp 2025-03-01T00:00:00: found no time zone"):
        run(world, "encode", "grey", "--available-from", "2025-03-01")
    with pytest.raises(BadInput, match="device 'cuda:77'"):
        run(world, "encode", "grey", "--device", "cuda:77")
    with pytest.raises(NotFound, match="weights of vgg16: found none given"):
        run(world, "encode", "vgg16")
    with pytest.raises(
        BadInput, match=r"option --frames of grey: found 3; expected none: a post's clip .*--entity video"
    ):
        run(world, "encode", "grey", "--entity", "post", "--frames", "3")
    for encoder, entity, source in (("vggish", "video", "audio"), ("handcrafted-text", "post", "text")):
        told = f"option --frames of {encoder}: found 3; expected none: it reads {source}. Next: leave it out$"
        with pytest.raises(BadInput, match=told):
            run(world, "encode", encoder, "--entity", entity, "--frames", "3")


def test_the_program_encodes_with_the_published_network(world: Home, tmp_path: Path) -> None:
    """ResNet-50 in full, from a weights file, in a process of its own."""
    with torch.device("meta"):
        network = ResNet()
    save_file(seeded(network), tmp_path / "resnet50.safetensors")
    arguments = ["encode", "resnet50", "--weights", str(tmp_path / "resnet50.safetensors"), "--frames", "2"]
    command = [sys.executable, "-m", "backbeat", "features", *arguments, "--home", str(world.root), "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert (document["encoded"], document["spec"]["width"]) == (3, 2048)
    assert "encoding video with resnet50 3/3" in done.stderr
    table = read_table(world, current_snapshot(world), "embedding_visual")
    matrix = table["vector"].combine_chunks().flatten().to_numpy().reshape(3, 2048)
    assert np.isfinite(matrix).all()
    assert np.abs(matrix[0] - matrix[2]).max() > 0


def test_every_encoder_that_needs_no_weights_runs_on_the_world(
    world: Home, tmp_path: Path, sine: Callable[..., Any]
) -> None:
    from feature_repo.encoders.media import write_wav

    for name in ("m0.wav", "m1.wav"):
        write_wav(tmp_path / "media" / name, sine(440, 2, 22_050), 22_050)
    for encoder, entity in (("handcrafted-image", "post"), ("handcrafted-text", "post"), ("music-content", "music")):
        document = run(world, "encode", encoder, "--entity", entity)
        assert document["outcome"] == "created"
        assert document["encoded"] >= 1
    assert set(current_snapshot(world).embeddings) == {"post_visual_handcrafted", "post_textual_handcrafted"}
