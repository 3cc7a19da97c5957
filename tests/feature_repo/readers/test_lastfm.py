"""Reading Last.fm's listening counts and friends."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.settings import Settings
from contracts.tables import check_table
from feature_repo.apply import apply_features
from feature_repo.commands import ingest
from feature_repo.offline import write_snapshot
from feature_repo.readers.lastfm import read_lastfm
from feature_repo.readers.nominal import NOMINAL_SPLIT, NOMINAL_START

FILES = ("user_artists.dat", "user_friends.dat", "artists.dat")
LISTENS = [(user, artist, 10 * user + artist) for user in (2, 3, 7) for artist in range(1, 11)] + [(9, 1, 5)]
FRIENDS = [(2, 3), (3, 2), (2, 12), (12, 2)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    lines = {
        "user_artists.dat": ["userID\tartistID\tweight", *("\t".join(map(str, row)) for row in LISTENS)],
        "user_friends.dat": ["userID\tfriendID", *("\t".join(map(str, row)) for row in FRIENDS)],
        "artists.dat": [
            "id\tname\turl\tpictureURL",
            '1\t"Weird Al" Yankovic\thttp://a\t',
            *(f"{number}\tBjörk {number}\thttp://b\thttp://c" for number in range(2, 12)),
        ],
    }
    (tmp_path / "lastfm").mkdir()
    for name, content in lines.items():
        (tmp_path / "lastfm" / name).write_text("\n".join(content) + "\n", encoding="utf-8")
    return tmp_path / "lastfm"


def test_every_row_arrives(directory: Path) -> None:
    raw, facts = read_lastfm(directory)
    assert set(raw.tables) == {"users", "music", "listens", "edges"}
    for name, table in raw.tables.items():
        check_table(name, table)
    listens = raw.tables["listens"].to_pydict()
    found = zip(listens["user_id"], listens["music_id"], listens["weight"], strict=True)
    assert sorted(found) == sorted((f"u{user}", f"m{artist}", float(count)) for user, artist, count in LISTENS)
    edges = raw.tables["edges"].to_pydict()
    assert list(zip(edges["source_id"], edges["target_id"], strict=True)) == [(f"u{a}", f"u{b}") for a, b in FRIENDS]
    assert set(edges["network"]) == {"friend"}
    assert raw.tables["users"]["user_id"].to_pylist() == ["u2", "u3", "u7", "u9", "u12"]
    assert raw.tables["music"]["title"].to_pylist()[:2] == ['"Weird Al" Yankovic', "Björk 2"]
    assert (raw.dataset, facts["train"], facts["validation"], facts["test"]) == ("lastfm", 25, 3, 3)


def test_each_user_is_split_by_chance(directory: Path) -> None:
    raw, _ = read_lastfm(directory, "friends", seed=1)
    assert raw.dataset == "friends"
    assert raw.split == NOMINAL_SPLIT
    listens = raw.tables["listens"].to_pydict()
    days = [(moment - NOMINAL_START).days for moment in listens["event_time"]]
    per_user = Counter(zip(listens["user_id"], days, strict=True))
    assert per_user == {**{(f"u{u}", d): n for u in (2, 3, 7) for d, n in ((0, 8), (1, 1), (2, 1))}, ("u9", 0): 1}
    assert len(set(zip(listens["user_id"], listens["event_time"], strict=True))) == len(LISTENS)
    for name in ("users", "music", "edges"):
        assert max(raw.tables[name]["event_time"].to_pylist()) < NOMINAL_START, "known before the first event"
    assert read_lastfm(directory, seed=1)[0].tables["listens"].equals(raw.tables["listens"])
    assert not read_lastfm(directory, seed=2)[0].tables["listens"].equals(raw.tables["listens"])
    _, facts = read_lastfm(directory, train=0.5, validation=0.3)
    assert (facts["train"], facts["validation"], facts["test"]) == (16, 9, 6)


def test_files_in_latin_1(directory: Path) -> None:
    text = (directory / "artists.dat").read_text(encoding="utf-8")
    (directory / "artists.dat").write_bytes(text.encode("iso-8859-1"))
    assert read_lastfm(directory)[0].tables["music"]["title"].to_pylist()[1] == "Björk 2"


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_or_damaged(directory: Path, name: str) -> None:
    whole = (directory / name).read_text()
    for content, message in (
        ("", "a file that cannot be read"),
        (whole.splitlines()[0] + "\n", "found no rows"),
        (whole.replace("\t", ";"), "a file that cannot be read"),
        (whole + "x\ty\tz\tw\n", "a file that cannot be read"),
    ):
        (directory / name).write_text(content)
        with pytest.raises(BadInput, match=f"{name}: found {message}" if message[0] == "a" else message):
            read_lastfm(directory)
    (directory / name).unlink()
    with pytest.raises(NotFound, match=f"found no {name}"):
        read_lastfm(directory)


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="found nothing there"):
        read_lastfm(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("user_artists.dat", "2\t99\t5", "artists that are in artists.dat"),
        ("user_artists.dat", "2\t1\t7", "each userID and artistID once"),
        ("user_artists.dat", "2\t11\t0", "weights that are positive"),
        ("user_artists.dat", "2\t11\tnan", "weights that are positive"),
        ("user_artists.dat", "2\t11\t1e39", "weights that are positive"),
        ("user_artists.dat", "2\t\t1", "a value of artistID in each row"),
        ("user_friends.dat", "2\t3", "each userID and friendID once"),
        ("artists.dat", "1\tagain\t\t", "each id once"),
    ],
)
def test_rows_that_do_not_fit(directory: Path, name: str, line: str, message: str) -> None:
    with (directory / name).open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(BadInput, match=message):
        read_lastfm(directory)


@pytest.mark.parametrize("shares", [(0.0, 0.5), (0.9, 0.1), (0.5, -0.1)])
def test_shares_that_make_no_split(directory: Path, shares: tuple[float, float]) -> None:
    with pytest.raises(BadInput, match="the split: found shares"):
        read_lastfm(directory, train=shares[0], validation=shares[1])


def test_the_published_data(public_data: Path, settings: Settings, home: Home) -> None:
    raw, facts = read_lastfm(public_data / "lastfm-2k")
    assert {name: table.num_rows for name, table in raw.tables.items()} == {
        "users": 1892, "music": 17_632, "listens": 92_834, "edges": 25_434
    }  # fmt: skip
    assert (facts["train"], facts["validation"], facts["test"]) == (74_274, 9_280, 9_280)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
        applied = apply_features(settings, home)
    assert applied["snapshot"] == snapshot.id
    assert {"user_listens", "user_network_friend"} <= set(applied["views"]), "a snapshot without videos has features"


def test_the_command(directory: Path, tmp_path: Path) -> None:
    arguments = ["lastfm", str(directory), "--name", "friends", "--seed", "3", "--home", str(tmp_path / "home")]
    shown = CliRunner().invoke(ingest, arguments)
    assert shown.exit_code == 0, shown.output
    assert "(friends): created" in shown.stdout
    assert "validation                         3" in shown.stdout
    document = json.loads(CliRunner().invoke(ingest, [*arguments, "--json"]).stdout)
    assert (document["outcome"], document["facts"]["seed"], document["tables"]["edges"]) == ("unchanged", 3, 4)
