from pathlib import Path

import pytest

from contracts.clock import utc_now
from contracts.embeddings import EmbeddingSpec, require_same_spec
from contracts.errors import BadInput, NotFound
from contracts.manifest import MANIFEST, IndexInfo, ModelManifest, read_manifest, seal, verify
from contracts.protocol import ProtocolFingerprint
from contracts.snapshot import SplitInstants

SPEC = EmbeddingSpec(
    modality="visual",
    encoder="resnet50",
    revision="1",
    preprocessing="224",
    width=8,
    dtype="float32",
    normalisation="l2",
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    directory = tmp_path / "package"
    (directory / "sub").mkdir(parents=True)
    (directory / "weights.safetensors").write_bytes(b"weights")
    (directory / "sub" / "golden.json").write_text("[]")
    seal(directory, manifest())
    return directory


def manifest() -> ModelManifest:
    return ModelManifest(
        model="mf",
        variant="mf",
        surface="video-feed",
        shape="two-tower",
        config={"dimension": 64},
        seed=0,
        code_revision="abc",
        feature_service="interactions_v1",
        snapshot="s",
        validation_report="r",
        embedding_specs={"visual": SPEC},
        vocabularies={"users": "u", "items": "i"},
        protocol=ProtocolFingerprint(snapshot="s", split="given", candidates="all", cutoffs=(20,)),
        metrics={"validation_recall_at_20": 0.1},
        index=IndexInfo(kind="exact", recall=1.0),
        library_versions={},
        created_at=utc_now(),
    )


def test_a_sealed_package_verifies_and_round_trips(package: Path) -> None:
    found = verify(package)
    assert set(found.files) == {"weights.safetensors", "sub/golden.json"}
    assert found == read_manifest(package)
    assert found.embedding_specs["visual"] == SPEC


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda p: (p / "weights.safetensors").write_bytes(b"weightz"),
            r"weights.safetensors: found SHA-256 \w+….*sealed",
        ),
        (lambda p: (p / "sub" / "golden.json").unlink(), r"golden.json: found no file"),
        (lambda p: (p / "evil.py").write_text("x"), r"evil.py.*no such file in the package"),
    ],
)
def test_any_altered_file_is_named(package: Path, damage, message: str) -> None:
    damage(package)
    with pytest.raises(BadInput, match=message):
        verify(package)


def test_a_manifest_that_is_missing_or_of_another_format(package: Path) -> None:
    text = (package / MANIFEST).read_text()
    (package / MANIFEST).write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(BadInput, match=r"manifest.json: found format.*expected a manifest of format 1"):
        verify(package)
    (package / MANIFEST).unlink()
    with pytest.raises(NotFound, match="no manifest"):
        verify(package)


def test_the_package_hash_moves_with_any_file(package: Path) -> None:
    before = read_manifest(package).package_sha256
    (package / "weights.safetensors").write_bytes(b"other")
    assert (
        seal(package, manifest().model_copy(update={"created_at": read_manifest(package).created_at})).package_sha256
        != before
    )


def test_vectors_of_another_encoder_are_refused() -> None:
    require_same_spec("model 3", SPEC, SPEC)
    with pytest.raises(BadInput, match=r"model 3: visual embedding spec: found revision '2'; expected revision '1'"):
        require_same_spec("model 3", SPEC.model_copy(update={"revision": "2"}), SPEC)


def test_fingerprints_differ_in_any_part() -> None:
    base = manifest().protocol
    changes = [{"snapshot": "t"}, {"split": "x"}, {"candidates": "99"}, {"cutoffs": (10,)}, {"seeds": (1,)}]
    digests = {base.digest, *(base.model_copy(update=change).digest for change in changes)}
    assert len(digests) == 6


def test_a_split_must_be_in_order() -> None:
    now = utc_now()
    with pytest.raises(ValueError, match="train_until must be before validation_until"):
        SplitInstants(train_until=now, validation_until=now, nominal=False)
    later = now.replace(year=now.year + 1)
    assert SplitInstants(train_until=now, validation_until=later, nominal=True).describe().startswith("given split")
