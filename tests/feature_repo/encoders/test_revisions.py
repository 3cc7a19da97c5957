"""Two revisions of the same embeddings, side by side, and the switch between them."""

from pathlib import Path

import pytest

from contracts.database import Database
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from feature_repo.encoders.encode import encode_snapshot
from feature_repo.encoders.encoding import EncoderOptions
from feature_repo.encoders.registry import ENCODERS
from feature_repo.encoders.revisions import rewrite, use_revision
from feature_repo.offline import current_snapshot, read_table
from tests.feature_repo.encoders.small_world import grey_encoder, write_media, write_world


@pytest.fixture
def two(home: Home, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A home with revisions 1 (in use) and 2 of ``visual``; gives their digests."""
    monkeypatch.setitem(ENCODERS, "grey", grey_encoder([]))
    monkeypatch.setitem(ENCODERS, "grey-2", grey_encoder([], revision="2"))
    write_media(tmp_path / "media", 3)
    with home.writing("test"):
        write_world(home, tmp_path / "media", videos=3)
    one = encode_snapshot(home, database, "grey", EncoderOptions(frames=1))
    other = encode_snapshot(home, database, "grey-2", EncoderOptions(frames=3), beside=True)
    assert other.name == f"visual@{other.spec.digest[:8]}"
    return one.spec.digest, other.spec.digest


def _frames(home: Home, name: str) -> float:
    """How many frames the vectors are made of: their second component."""
    return float(read_table(home, current_snapshot(home), f"embedding_{name}")["vector"][0].as_py()[1])


def test_tables_that_are_read_and_written_again_are_the_same_data(home: Home, two: tuple[str, str]) -> None:
    before = current_snapshot(home)
    with home.writing("test"):
        assert rewrite(home, before, {}, before.embeddings) == (before, False)


def test_a_second_revision_is_kept_beside_the_first(home: Home, two: tuple[str, str]) -> None:
    snapshot = current_snapshot(home)
    assert {name: spec.digest for name, spec in snapshot.embeddings.items()} == {
        "visual": two[0],
        f"visual@{two[1][:8]}": two[1],
    }
    assert list(snapshot.video_modalities) == ["visual"]
    assert (_frames(home, "visual"), _frames(home, f"visual@{two[1][:8]}")) == (1, 3)
    assert len({spec.view for spec in snapshot.embeddings.values()}) == 2


def test_each_is_found_again_under_its_name(home: Home, database: Database, two: tuple[str, str]) -> None:
    before = current_snapshot(home)
    again = encode_snapshot(home, database, "grey-2", EncoderOptions(frames=3))  # no --beside needed: it is there
    assert (again.name, again.created, again.snapshot) == (f"visual@{two[1][:8]}", False, before)


def test_the_switch_goes_both_ways(home: Home, two: tuple[str, str]) -> None:
    first = current_snapshot(home)
    with home.writing("test"):
        switched, after, before = use_revision(home, "visual", two[1][:6])
    assert (after.digest, before.digest, current_snapshot(home)) == (two[1], two[0], switched)
    assert (_frames(home, "visual"), _frames(home, f"visual@{two[0][:8]}")) == (3, 1)
    assert set(switched.tables) == {*first.tables} - {f"embedding_visual@{two[1][:8]}"} | {
        f"embedding_visual@{two[0][:8]}"
    }
    assert switched.media == first.media
    with home.writing("test"):
        same, after, before = use_revision(home, "visual", two[1])
        assert (same, after) == (switched, before)
        back, _, _ = use_revision(home, "visual", two[0])
    assert back.id == first.id


def test_revisions_that_are_not_there_are_named(home: Home, two: tuple[str, str]) -> None:
    with home.writing("test"):
        with pytest.raises(NotFound, match="embeddings 'visua': found no embeddings of that name; expected 'visual'"):
            use_revision(home, "visua", two[0])
        with pytest.raises(NotFound, match="revision of visual 'zzzz'"):
            use_revision(home, "visual", "zzzz")
        with pytest.raises(NotFound, match="revision of visual ''"):
            use_revision(home, "visual", "")


def test_digits_of_two_revisions_are_refused(
    home: Home, two: tuple[str, str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {two[0][0], two[1][0]}
    for number in range(3, 200):
        encoder = grey_encoder([], revision=str(number))
        digest = encoder.build(EncoderOptions()).spec("video").digest
        if digest[0] in known:
            break
    monkeypatch.setitem(ENCODERS, "grey-n", encoder)
    encode_snapshot(home, database, "grey-n", EncoderOptions(), beside=True)
    with home.writing("test"), pytest.raises(BadInput, match=r"found 2 of that beginning: .*Next: give more digits"):
        use_revision(home, "visual", digest[0])
