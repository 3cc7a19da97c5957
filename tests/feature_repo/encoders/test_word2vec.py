"""Word vectors and SIF, by hand on tiny vocabularies; training is repeatable."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from contracts.errors import BackbeatError, BadInput, NotFound
from contracts.home import Home
from contracts.snapshot import SplitInstants
from contracts.tables import POSTS, USERS
from feature_repo.commands import features
from feature_repo.encoders.encoding import EncoderOptions, Fault, MediaItem
from feature_repo.encoders.registry import ENCODERS
from feature_repo.encoders.word2vec import (
    Word2VecEncoding,
    WordVectors,
    common_component,
    read_word_vectors,
    sif_means,
)
from feature_repo.encoders.word_training import corpus_of, train_word_vectors
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables, microseconds, table_of

MOMENT = datetime(2024, 5, 1, 12, tzinfo=UTC)
CORPUS = [
    *["the cat purrs and the kitten sleeps", "a kitten and a cat play", "my cat sleeps, my kitten purrs"] * 30,
    *["the engine of the car roars", "a truck and a car drive", "my truck roars, the engine drives"] * 30,
    *["我爱北京天安门", "北京真美"] * 5,
]


def tiny(**changes: object) -> WordVectors:
    """Three words: p = 6/10, 3/10, 1/10; a = 0.1, so weights 1/7, 1/4, 1/2."""
    values: dict[str, object] = {
        "words": ("the", "cat", "猫"),
        "counts": np.array([6, 3, 1]),
        "vectors": np.array([[7, 0], [0, 4], [2, 2]], np.float32),
        "total": 10,
        "common": np.array([0.6, 0.8], np.float32),
        "smoothing": 0.1,
        "known_until": MOMENT,
    }
    return WordVectors(**(values | changes))  # type: ignore[arg-type]


def test_sif_weights_and_means() -> None:
    np.testing.assert_allclose(tiny().weights, [1 / 7, 1 / 4, 1 / 2])
    means, known = sif_means(tiny(), [["the", "cat"], ["猫", "猫", "unknown"], [], ["unknown"], ["the", "the", "猫"]])
    # (1, 0) + (0, 1) over 2; (1, 1) alone; nothing; nothing; 2 (1, 0) + (1, 1) over 3
    np.testing.assert_allclose(means, [[0.5, 0.5], [1, 1], [0, 0], [0, 0], [1, 1 / 3]], rtol=1e-6)
    assert known.tolist() == [2, 2, 0, 0, 3]


def test_common_component_is_the_first_right_singular_vector() -> None:
    np.testing.assert_allclose(
        common_component(np.array([[3, 4], [-6, -8], [0, 0]], np.float32)), [0.6, 0.8], rtol=1e-6
    )
    # without centring: (10, 1) and (10, -1) have their common direction along the first axis
    np.testing.assert_allclose(common_component(np.array([[10, 1], [10, -1]], np.float32)), [1, 0], atol=1e-6)
    many = np.random.default_rng(3).normal(size=(50, 8)).astype(np.float32) + 1
    expected = np.linalg.svd(many)[2][0]
    np.testing.assert_allclose(np.abs(common_component(many)), np.abs(expected), atol=1e-5)
    assert common_component(many) @ common_component(many) == pytest.approx(1, abs=1e-5)


def test_the_vector_of_a_text_lacks_the_common_component(tmp_path: Path) -> None:
    tiny().save(tmp_path / "w")
    encoding = ENCODERS["word2vec"].build(EncoderOptions(weights=str(tmp_path / "w")))
    items = [MediaItem("post", str(n), text=text) for n, text in enumerate(["The CAT!", "猫", "dog", " ", None])]
    vectors, faults = encoding.encode(items)
    # (0.5, 0.5) less 0.7 (0.6, 0.8); (1, 1) less 1.4 (0.6, 0.8)
    np.testing.assert_allclose(vectors, [[0.08, -0.06], [0.16, -0.12], [0, 0], [0, 0], [0, 0]], atol=1e-6)
    assert vectors.dtype == np.float32
    none, missing = Fault("no text", absent=True), Fault("no word of the vocabulary", absent=True)
    assert faults == [None, None, missing, none, none]
    for row, item in enumerate(items):
        np.testing.assert_array_equal(encoding.encode([item])[0][0], vectors[row])
    assert encoding.encode([])[0].shape == (0, 2)


def test_training_counts_words_and_finds_neighbours() -> None:
    model = train_word_vectors(CORPUS, MOMENT, seed=7, width=16, epochs=40)
    assert model.words[0] == "the"
    at = model.index
    assert model.counts[at["cat"]] == 90
    assert model.counts[at["北京"]] == 10
    assert "天安门" in at
    assert model.total == sum(len(text.replace(",", "").split()) for text in CORPUS[:180]) + 5 * 4 + 5 * 3
    unit = model.vectors / np.linalg.norm(model.vectors, axis=1, keepdims=True)
    assert unit[at["cat"]] @ unit[at["kitten"]] > unit[at["cat"]] @ unit[at["engine"]]
    assert np.linalg.norm(model.common) == pytest.approx(1, abs=1e-5)
    means, _ = sif_means(model, [["cat", "sleeps"]])
    assert means.shape == (1, 16)


def test_equal_seeds_give_equal_vectors_in_another_process_too() -> None:
    script = (
        "import sys, json; from datetime import datetime, UTC\n"
        "from feature_repo.encoders.word_training import train_word_vectors\n"
        "corpus, seed = json.loads(sys.stdin.read())\n"
        "print(train_word_vectors(corpus, datetime(2024, 5, 1, tzinfo=UTC), seed=seed, width=8).revision)\n"
    )

    def revision(hash_seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=json.dumps([CORPUS, 1]),
            # The rest as here: variables of BLAS choose its kernels, and with them the last digits.
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    here = train_word_vectors(CORPUS, MOMENT, seed=1, width=8).revision
    assert revision("1") == here  # the order of Python's sets and dicts by hash does not matter
    assert train_word_vectors(CORPUS, MOMENT, seed=2, width=8).revision != here


def test_the_default_width_is_200() -> None:
    assert train_word_vectors(CORPUS, MOMENT, seed=0, epochs=1).vectors.shape[1] == 200


def test_saved_vectors_come_back_and_nothing_is_pickled(tmp_path: Path) -> None:
    model = tiny()
    model.save(tmp_path / "w")
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == [
        *("common.npy", "counts.npy", "vectors.npy", "vocabulary.json"),
    ]
    loaded = read_word_vectors(tmp_path / "w")
    assert (loaded.words, loaded.total, loaded.smoothing, loaded.known_until) == (model.words, 10, 0.1, MOMENT)
    np.testing.assert_array_equal(loaded.vectors, model.vectors)
    assert loaded.revision == model.revision
    with pytest.raises(BadInput, match=r"found it exists; expected a new directory"):
        model.save(tmp_path / "w")


@pytest.mark.parametrize(
    "change",
    [
        {"words": ("the", "cat", "dog")},
        {"counts": np.array([6, 3, 2])},
        {"vectors": np.array([[7, 0], [0, 4], [2, 3]], np.float32)},
        {"total": 11},
        {"common": np.array([0.8, 0.6], np.float32)},
        {"smoothing": 0.2},
    ],
)
def test_whatever_a_vector_depends_on_changes_the_revision(change: dict[str, object]) -> None:
    assert tiny(**change).revision != tiny().revision


def test_the_spec_says_from_when_vectors_could_be_known(tmp_path: Path) -> None:
    tiny().save(tmp_path / "w")
    options = EncoderOptions(weights=str(tmp_path / "w"))
    spec = Word2VecEncoding(options).spec("post")
    assert (spec.revision, spec.width, spec.available_from) == (tiny().revision, 2, MOMENT)
    earlier, later = MOMENT - timedelta(days=1), MOMENT + timedelta(days=1)
    for given, expected in ((earlier, MOMENT), (later, later)):
        built = Word2VecEncoding(EncoderOptions(weights=str(tmp_path / "w"), available_from=given))
        assert built.spec("post").available_from == expected


def test_what_cannot_be_trained_or_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a corpus of 2 texts: found no word that occurs 5 times"):
        train_word_vectors(["one two", "three"], MOMENT, seed=0)
    with pytest.raises(BadInput, match="known_until: found a moment without a time zone"):
        train_word_vectors(CORPUS, MOMENT.replace(tzinfo=None), seed=0)
    with pytest.raises(BadInput, match="encoder word2vec: found no weights; expected the directory of word vectors"):
        Word2VecEncoding(EncoderOptions())
    with pytest.raises(NotFound, match=r"found no vocabulary\.json; expected trained word vectors"):
        read_word_vectors(tmp_path)
    tiny().save(tmp_path / "w")
    np.save(tmp_path / "w" / "counts.npy", np.array([6, 3, 9]))
    with pytest.raises(BadInput, match=r"found contents of revision \w{12}; expected revision \w{12}, as voc"):
        read_word_vectors(tmp_path / "w")
    (tmp_path / "w" / "vectors.npy").write_bytes(b"\x93NUMPY cut")
    with pytest.raises(BadInput, match="found damaged files"):
        read_word_vectors(tmp_path / "w")
    np.save(tmp_path / "w" / "vectors.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(BadInput, match=r"damaged files .*pickle"):
        read_word_vectors(tmp_path / "w")


def test_a_corpus_is_what_was_known_in_the_order_in_which_it_became_known() -> None:
    hours = [3, 1, 2, 5, 4]
    moments = [MOMENT + timedelta(hours=hour) for hour in hours]
    late = [moments[0], moments[1] + timedelta(hours=9), *moments[2:]]
    table = pa.table({"text": ["c", "late", "b", None, "d"], "event_time": moments, "ingested_at": late})
    assert corpus_of(table, "text") == (["b", "c", "d", "late"], MOMENT + timedelta(hours=10))
    assert corpus_of(table, "text", MOMENT + timedelta(hours=3)) == (["b", "c"], MOMENT + timedelta(hours=3))
    just_before = MOMENT + timedelta(hours=3, microseconds=-1)
    assert corpus_of(table, "text", just_before) == (["b"], MOMENT + timedelta(hours=2))
    with pytest.raises(BadInput, match="the corpus: found no text known by 2024-05-01T12:00:00"):
        corpus_of(table, "text", MOMENT)
    with pytest.raises(BadInput, match="the corpus: found no text; expected texts to train word vectors on"):
        corpus_of(table.slice(3, 1), "text")


def test_the_command_trains_what_the_encoder_reads(home: Home, tmp_path: Path) -> None:
    count = 60
    moments = microseconds(MOMENT) + 1_000_000 * np.arange(count)
    users = table_of(USERS, moments[:1], user_id=pa.array(["u"]))
    posts = table_of(
        POSTS,
        moments,
        moments + 5,
        post_id=pa.array([f"p{n}" for n in range(count)]),
        user_id=pa.array(["u"] * count),
        text=pa.array([CORPUS[n % 3] if n < 40 else "later words arrive" for n in range(count)]),
    )
    split = SplitInstants(train_until=MOMENT, validation_until=MOMENT + timedelta(days=1), nominal=False)
    with home.writing("a test"):
        write_snapshot(home, RawTables({"users": users, "posts": posts}, {}, split, "words", "a test"))
    where = ["--home", str(home.root), "--json"]
    made = tmp_path / "words"

    def run(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(features, [*arguments, *where])
        if isinstance(result.exception, BackbeatError):
            raise result.exception
        return dict(json.loads(result.stdout))

    until = MOMENT + timedelta(seconds=39, microseconds=5)
    found = run("train-words", str(made), "--until", until.isoformat(), "--width", "8", "--seed", "3")
    assert (found["texts"], found["width"]) == (40, 8)
    assert found["available_from"] == until.isoformat()
    model = read_word_vectors(made)
    assert model.revision == found["revision"]
    assert "kitten" in model.words
    assert "later" not in model.words
    encoding = Word2VecEncoding(EncoderOptions(weights=str(made)))
    assert encoding.encode([MediaItem("post", "p", text="my kitten")])[1] == [None]
    with pytest.raises(BadInput, match="found it exists; expected a new directory"):
        run("train-words", str(made))
    with pytest.raises(NotFound, match="entity with texts 'music'"):
        run("train-words", str(tmp_path / "other"), "--entity", "music")
    with pytest.raises(NotFound, match=r"table 'videos' of snapshot .*: found none; expected a data set with videos"):
        run("train-words", str(tmp_path / "other"), "--entity", "video")
    assert not (tmp_path / "other").exists()
