"""The clean process, and what is read of a package before it is started."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from contracts.manifest import IndexInfo, ModelManifest, read_manifest, seal
from contracts.protocol import ProtocolFingerprint
from contracts.snapshot import Snapshot, SplitInstants
from contracts.vocabulary import Vocabulary
from feature_repo.frame import TrainingFrame
from registry import evidence
from registry.evidence import replay_in_clean_process
from training.models.popularity import Popularity, PopularityConfig
from training.packages import write_package
from training.recommender import Catalogue

USERS, ITEMS = 12, 30


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A real package of the simplest model, as training writes it."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    split = SplitInstants(train_until=start, validation_until=start.replace(day=2), nominal=True)
    rng = np.random.default_rng(0)
    train = np.stack([np.repeat(np.arange(USERS), 4), rng.integers(0, ITEMS, USERS * 4)], axis=1)
    frame = TrainingFrame(
        snapshot=Snapshot(id="s", dataset="d", source="t", created_at=start, tables={}, embeddings={}, split=split),
        feature_service="interactions_v1",
        users=Vocabulary([f"u{row}" for row in range(USERS)]),
        items=Vocabulary([f"v{row}" for row in range(ITEMS)]),
        train=train,
        validation=train[:5],
        modalities={},
        missing={},
        specs={},
        history=np.full((USERS, 50), -1),
        popularity=np.bincount(train[:, 1], minlength=ITEMS),
    )
    model = Popularity(PopularityConfig(), Catalogue.of(frame))
    model.fit(frame, seed=0)
    manifest = ModelManifest(
        model="popularity",
        variant="popularity",
        surface="video-feed",
        shape="two-tower",
        config={},
        seed=0,
        code_revision="test",
        feature_service="interactions_v1",
        snapshot="s",
        validation_report="r",
        embedding_specs={},
        vocabularies={"users": frame.users.digest, "items": frame.items.digest},
        protocol=ProtocolFingerprint(snapshot="s", split="given", candidates="all", cutoffs=(20,)),
        metrics={},
        index=IndexInfo(kind="exact", recall=1.0),
        library_versions={},
        created_at=start,
    )
    directory = tmp_path / "package"
    directory.mkdir()
    write_package(directory, model, frame, manifest)
    return directory


def test_a_sound_package_answers_alike_in_a_clean_process(package: Path) -> None:
    assert replay_in_clean_process(package) is None


def test_a_package_whose_items_changed_after_its_golden_answers_is_refused(package: Path) -> None:
    vectors = np.load(package / "item_vectors.npy")
    np.save(package / "item_vectors.npy", vectors[::-1])
    seal(package, read_manifest(package))
    fault = replay_in_clean_process(package)
    assert fault is not None
    assert fault.startswith("golden request of user 'u0'")


def test_a_directory_that_is_no_package_is_refused_by_the_real_check(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"x")
    fault = replay_in_clean_process(tmp_path)
    assert fault is not None
    assert fault.startswith(f"{tmp_path / 'manifest.json'}: found no manifest")


def test_a_folder_named_training_in_the_working_directory_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").touch()
    (tmp_path / "training" / "check.py").write_text("raise SystemExit(0)")
    monkeypatch.chdir(tmp_path)
    assert replay_in_clean_process(tmp_path) is not None


def test_a_check_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "_PATIENCE_S", 0.01)
    assert replay_in_clean_process(tmp_path) == "the package did not load and answer within 0.01 seconds"


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("#!/bin/sh\nexit 0\n", None),
        ("#!/bin/sh\necho noise >&2\necho 'error: wrong answer' >&2\nexit 2\n", "wrong answer"),
        ("#!/bin/sh\nexit 7\n", "exit code 7 without a word"),
    ],
)
def test_what_the_check_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, fault: str | None) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(program)
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    assert replay_in_clean_process(tmp_path) == fault
