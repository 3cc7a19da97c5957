"""Reading MovieLens: the split by items, titles joined with plots, and the texts that are encoded."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.tables import check_table
from feature_repo.commands import ingest
from feature_repo.encoders.encoding import Fault, MediaItem
from feature_repo.readers.movielens import PLOTS, read_movielens
from feature_repo.readers.nominal import NOMINAL_SPLIT, NOMINAL_START
from feature_repo.readers.texts import encode_texts, sentence_encoder
from feature_repo.readers.titles import Film, match_titles

SPEC = EmbeddingSpec(
    modality="textual",
    encoder="hand",
    revision="1",
    preprocessing="length",
    width=1,
    dtype="float32",
    normalisation="none",
)
PARTS = {
    "train_df.csv": [(0, 0), (0, 1), (1, 1), (2, 0)],
    "cold_vali_df.csv": [(0, 2), (2, 2)],
    "cold_test_df.csv": [(0, 3), (1, 4), (2, 4)],
}
ITEMS = [
    (3, '"Postman, The (Postino, Il) (1994)"', "Drama|Romance"),
    (0, "Toy Story (1995)", "Animation"),
    (1, "Aimée & Jaguar (1999)", "Drama"),
    (2, "Canadian Bacon (1995)", "Comedy"),
    (4, "Unheard Of (2000)", "Comedy|War"),
]
MOVIES = [
    "1::Toy Story (1995)::A",
    "5::Postino, Il (The Postman) (1994)::D",
    "7::Canadian Bacon (1994)::C",
    "9::Aim�e & Jaguar (1999)::D",
]
PLOT_ROWS = [
    (1, "Toy Story", 1995, "A boy's toys come to life."),
    (5, "Il Postino", 1994, "A postman :: and a poet."),
    (7, "Canadian Bacon", 1994, "N/A"),
    (9, "Aimee & Jaguar", 1999, "Two women in Berlin."),
]


def plot_line(number: int, title: str, year: int, plot: str) -> str:
    return f"{number}::{title}::{year}::G::1 Jan 1995::Drama::Director::Writers::Actors::{plot}::N/A"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "ml"
    path.mkdir()
    for name, pairs in PARTS.items():
        (path / name).write_text("uid,iid\n" + "".join(f"{user},{item}\n" for user, item in pairs))
    (path / "item_df.csv").write_text(
        "iid,title,genres\n" + "".join(f"{number},{title},{genres}\n" for number, title, genres in ITEMS)
    )
    (path / "movies.dat").write_text("\n".join(MOVIES) + "\n", encoding="utf-8")
    rows = [plot_line(number, title, year, plot.replace(" ::", ",")) for number, title, year, plot in PLOT_ROWS]
    (path / "movies_extrainfos.dat").write_bytes(("\r\n".join(rows) + "\r\n").encode())
    return path


def lengths(ids: Sequence[str], texts: Sequence[str]) -> tuple[Any, Any, EmbeddingSpec]:
    """An encoder whose vector is the length of the text."""
    return np.arange(len(ids)), np.array([[len(text)] for text in texts], np.float32), SPEC


def test_every_row_arrives(directory: Path) -> None:
    raw, _ = read_movielens(directory)
    assert set(raw.tables) == {"users", "videos", "interactions"}
    for name, table in raw.tables.items():
        check_table(name, table)
    assert raw.tables["users"]["user_id"].to_pylist() == ["u0", "u1", "u2"]
    assert raw.tables["users"]["gender"].null_count == 3, "nobody can say which user of users.dat a number is"
    titles = dict(zip(*(raw.tables["videos"][name].to_pylist() for name in ("video_id", "title")), strict=True))
    assert titles["v3"] == "Postman, The (Postino, Il) (1994)"
    assert titles["v1"] == "Aimée & Jaguar (1999)"
    events = raw.tables["interactions"].to_pydict()
    found: dict[int, list[tuple[int, int]]] = {0: [], 1: [], 2: []}
    for user, video, moment in zip(events["user_id"], events["video_id"], events["event_time"], strict=True):
        found[(moment - NOMINAL_START).days].append((int(user[1:]), int(video[1:])))
    assert list(found.values()) == list(PARTS.values())
    assert raw.split == NOMINAL_SPLIT
    assert events["event_time"][1] - events["event_time"][0] == timedelta(seconds=1)


def test_plots_are_joined_and_fall_back_to_title_and_genres(directory: Path) -> None:
    texts: list[str] = []

    def keep(ids: Sequence[str], given: Sequence[str]) -> tuple[Any, Any, EmbeddingSpec]:
        texts.extend(given)
        return lengths(ids, given)

    raw, facts = read_movielens(directory, "films", keep)
    assert texts == [
        "A boy's toys come to life.",
        "Two women in Berlin.",
        "Canadian Bacon (1995). Comedy",
        "A postman, and a poet.",
        "Unheard Of (2000). Comedy, War",
    ]
    assert (facts["films"], facts["joined"], facts["plots"]) == (5, 4, 3)
    assert facts["joined by"] == {
        "same title": 1, "same letters": 0, "a name and the year": 1, "a name elsewhere": 1, "a name, a year beside": 1
    }  # fmt: skip
    table = raw.tables["embedding_textual"]
    check_table("embedding_textual", table)
    assert [vector[0] for vector in table["vector"].to_pylist()] == [len(text) for text in texts]
    assert raw.specs == {"textual": SPEC}


def test_facts_stand_in_vectors(directory: Path) -> None:
    raw, _ = read_movielens(directory, facts=True)
    assert set(raw.specs) == {"textual_handcrafted"}, "plots are apart"
    table = raw.tables["embedding_textual_handcrafted"]
    check_table("embedding_textual_handcrafted", table)
    vectors = np.array(table["vector"].to_pylist())
    # Animation, Comedy, Drama, Romance, War; G; 1920, 1930, 1940, 1950, 1960, 1970, 1980, 1985, 1990, 1995, 2000
    # The other file calls the first four films dramas, and knows nothing of the last.
    half, late = 0.5**0.5, np.hypot(0.2, 0.8)
    genres = [
        [half, 0, half, 0, 0],
        [0, 0, 1, 0, 0],
        [0, half, half, 0, 0],
        [0, 0, half, half, 0],
        [0, half, 0, 0, half],
    ]
    assert vectors[:, :5] == pytest.approx(np.array(genres))
    assert vectors[:, 5].tolist() == [1, 1, 1, 1, 0]
    assert vectors[:, 6:14].any() == np.False_
    years = [[0, 1, 0], [0, 0.2 / late, 0.8 / late], [0, 1, 0], [0.2 / late, 0.8 / late, 0], [0, 0, 1]]
    assert vectors[:, 14:] == pytest.approx(np.array(years))


def test_titles_match_one_to_one() -> None:
    wanted = {"a": Film("Dracula (1931)"), "b": Film("Dracula (1932)"), "c": Film("General, The (1927)")}
    known = {"1": Film("Dracula (1930)"), "2": Film("The General (1927)")}
    matched, counts = match_titles(wanted, known)
    assert matched == {"c": "2", "a": "1"}, "1932 is two years off"
    assert counts["same letters"] == 1
    twins = {"a": Film("Twins (1990)"), "b": Film("Twins (1992)")}
    assert match_titles(twins, {"1": Film("Twins (1991)")})[0] == {}, "either could be it"
    assert match_titles({"a": Film("Twins")}, {"1": Film("Twins")})[0] == {"a": "1"}


@pytest.mark.parametrize("name", [*PARTS, "item_df.csv", "movies.dat", "movies_extrainfos.dat"])
def test_a_file_that_is_missing_or_damaged(directory: Path, name: str) -> None:
    (directory / name).write_text("a,b\n1\n2::3\n")
    with pytest.raises(BadInput, match=name):
        read_movielens(directory)
    (directory / name).write_text("")
    with pytest.raises(BadInput, match=name):
        read_movielens(directory)
    (directory / name).unlink()
    with pytest.raises(NotFound, match=f"found no {name}"):
        read_movielens(directory)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("train_df.csv", "0,9", "items that are in item_df.csv"),
        ("train_df.csv", "0,0", "each user and item once"),
        ("cold_vali_df.csv", "1,0", "items that no other part has"),
        ("train_df.csv", "-1,0", "users numbered from 0"),
        ("train_df.csv", "999999999,0", "users numbered from 0 without gaps"),
        ("item_df.csv", "7,Gap (2001),Drama", "the numbers 0 to 5, each once"),
    ],
)
def test_rows_that_do_not_fit(directory: Path, name: str, line: str, message: str) -> None:
    with (directory / name).open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(BadInput, match=message):
        read_movielens(directory)


class Letters:
    """An encoding whose vector is the number of letters; it has none for texts with a query."""

    def __init__(self) -> None:
        self.longest: list[int] = []

    def spec(self, entity: str) -> EmbeddingSpec:
        return SPEC

    def encode(self, batch: Sequence[MediaItem]) -> tuple[np.ndarray, list[Fault | None]]:
        texts = [item.text or "" for item in batch]
        self.longest.append(max(map(len, texts)))
        faults = [Fault("asks") if "?" in text else None for text in texts]
        return np.array([[len(text)] for text in texts], np.float32), faults


def test_texts_are_encoded_by_length_and_come_back_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["x" * (1 + (7 * n) % 100) for n in range(100)]
    texts[3] = "x?"
    encoding = Letters()
    rows, matrix, spec = encode_texts(encoding, [f"v{n}" for n in range(100)], texts, PLOTS)
    assert rows.tolist() == [n for n in range(100) if n != 3]
    assert matrix[:, 0].tolist() == [len(texts[n]) for n in rows]
    assert encoding.longest == sorted(encoding.longest)
    assert spec.preprocessing == f"{PLOTS}; length"
    assert "encoding texts 100/100" in capsys.readouterr().err


def test_sentence_bert_is_the_encoder(directory: Path) -> None:
    raw, _ = read_movielens(directory, encode=sentence_encoder("cpu", PLOTS))
    spec = raw.specs["textual"]
    assert (spec.encoder, spec.width) == ("sentence-bert", 384)
    assert spec.preprocessing.startswith(PLOTS)
    vectors = np.stack(raw.tables["embedding_textual"]["vector"].to_numpy())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_published_data(public_data: Path) -> None:
    raw, facts = read_movielens(public_data / "ml-1m")
    assert {name: table.num_rows for name, table in raw.tables.items()} == {
        "users": 6018, "videos": 3018, "interactions": 933_517
    }  # fmt: skip
    assert (facts["joined"], facts["plots"]) == (2990, 2987)
    days = (raw.tables["interactions"]["event_time"].to_numpy() - np.datetime64("2000-01-01")) // np.timedelta64(1, "D")
    assert np.bincount(days.astype(int)).tolist() == [529_952, 106_695, 296_870]


def test_the_command_can_leave_the_texts_alone(directory: Path, tmp_path: Path) -> None:
    arguments = ["movielens", str(directory), "--no-text", "--home", str(tmp_path / "home")]
    shown = CliRunner().invoke(ingest, arguments)
    assert shown.exit_code == 0, shown.output
    assert "a name and the year 1" in shown.stdout
    document = json.loads(CliRunner().invoke(ingest, [*arguments, "--json"]).stdout)
    assert (document["facts"]["joined"], sorted(document["tables"])) == (4, ["interactions", "users", "videos"])
