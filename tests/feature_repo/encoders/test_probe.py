"""An item encoded again comes out as it was stored, or the reason is said."""

from pathlib import Path

import numpy as np
import pytest

from contracts.database import Database
from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.encoders.encode import encode_snapshot
from feature_repo.encoders.encoded import Encoded
from feature_repo.encoders.encoding import EncoderOptions
from feature_repo.encoders.media import write_clip
from feature_repo.encoders.probe import Reencoder
from feature_repo.encoders.registry import ENCODERS
from tests.feature_repo.encoders.small_world import grey_encoder, vectors_of, write_world


@pytest.fixture
def done(home: Home, database: Database, media: Path, asked: list[str]) -> Encoded:
    """Six videos encoded by ``grey`` with three frames, one in batches of 4."""
    with home.writing("test"):
        write_world(home, media, media=[*(f"v{n}.mp4" for n in range(6)), None])
    return encode_snapshot(home, database, "grey", EncoderOptions(batch=4, frames=3))


def reload(settings: Settings, home: Home, database: Database, done: Encoded) -> Reencoder:
    return Reencoder.of_spec(settings, home, database, done.snapshot, done.spec)


def test_the_options_of_the_job_give_the_stored_vectors_to_the_bit(
    settings: Settings, home: Home, database: Database, done: Encoded
) -> None:
    encoder = reload(settings, home, database, done)
    stored = vectors_of(home, done.snapshot, "visual")
    for item_id, vector in stored.items():
        found = encoder.encode(item_id)
        assert found.vector is not None
        np.testing.assert_array_equal(found.vector, np.array(vector, np.float32))
        assert (found.encoded_before, found.reason, len(found.content)) == (True, None, 32)


def test_the_newest_job_of_this_spec_counts_and_others_do_not(
    settings: Settings, home: Home, database: Database, done: Encoded
) -> None:
    other = encode_snapshot(home, database, "grey", EncoderOptions(frames=5), beside=True)
    assert other.spec != done.spec
    found = reload(settings, home, database, done).encode("v0").vector
    assert found is not None
    assert found[1] == 3
    found = reload(settings, home, database, other).encode("v0").vector
    assert found is not None
    assert found[1] == 5


def test_media_that_changed_are_told_from_those_that_were_encoded(
    settings: Settings, home: Home, database: Database, media: Path, done: Encoded
) -> None:
    write_clip(media / "v1.mp4", [np.full((32, 32, 3), 200, np.uint8)] * 3)
    encoder = reload(settings, home, database, done)
    assert encoder.encode("v1").encoded_before is False
    for part in (home.cache / "encodings").rglob("*.parquet"):
        part.unlink()
    assert reload(settings, home, database, done).encode("v1").encoded_before is None


def test_media_that_are_gone_or_damaged_or_elsewhere_are_reasons(
    settings: Settings, home: Home, database: Database, media: Path, done: Encoded
) -> None:
    outside = media.parent / "secret.mp4"
    (media / "v0.mp4").rename(outside)
    (media / "v0.mp4").symlink_to(outside)
    (media / "v1.mp4").unlink()
    (media / "v2.mp4").write_bytes(b"no film")
    encoder = reload(settings, home, database, done)
    reasons = {item_id: encoder.encode(item_id).reason for item_id in ("v0", "v1", "v2", "v6", "v99")}
    assert reasons["v0"] == "v0.mp4: a link that leads out of the media directory"
    assert reasons["v1"] == "v1.mp4: no such file"
    assert reasons["v2"] is not None
    assert reasons["v2"].startswith("v2.mp4: a medium that cannot be read")
    assert reasons["v6"] == reasons["v99"] == "nothing that this encoder reads"
    assert [encoder.has_input(item_id) for item_id in ("v0", "v6", "v99")] == [True, False, False]
    media.rename(media.with_name("moved"))
    with pytest.raises(NotFound, match="found no directory"):
        reload(settings, home, database, done)


def test_another_revision_than_the_table_has_is_refused(
    settings: Settings, home: Home, database: Database, done: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENCODERS, "grey", grey_encoder([], revision="7"))
    with pytest.raises(NotFound, match=r"encoder grey of visual: found revision '7', .*; expected revision '1'"):
        reload(settings, home, database, done)


def test_without_a_job_an_encoder_that_needs_no_weights_will_do(
    settings: Settings, home: Home, database: Database, media: Path
) -> None:
    with home.writing("test"):
        snapshot = write_world(home, media)
    spec = ENCODERS["handcrafted-text"].build(EncoderOptions()).spec("video")
    found = Reencoder.of_spec(settings, home, database, snapshot, spec).encode("v3")
    assert found.vector is not None
    assert found.vector.shape == (spec.width,)
    assert found.encoded_before is None
    stranger = spec.model_copy(update={"revision": "another lexicon"})
    with pytest.raises(NotFound, match="expected revision 'another lexicon'"):
        Reencoder.of_spec(settings, home, database, snapshot, stranger)
    for name in ("resnet50", "word2vec", "vggish"):
        entity = ENCODERS[name].entities[0]
        with pytest.raises(BadInput):
            Reencoder.of_spec(
                settings, home, database, snapshot, spec.model_copy(update={"encoder": name, "entity": entity})
            )


def test_ready_made_vectors_have_no_encoder_here(
    settings: Settings, home: Home, database: Database, media: Path
) -> None:
    with home.writing("test"):
        snapshot = write_world(home, media)
    spec = EmbeddingSpec(
        modality="visual",
        encoder="published",
        revision="1",
        preprocessing="?",
        width=2,
        dtype="float16",
        normalisation="none",
    )
    with pytest.raises(NotFound, match="found ready-made vectors of 'published', which no job here has made"):
        Reencoder.of_spec(settings, home, database, snapshot, spec)
