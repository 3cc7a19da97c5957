from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import BadInput
from contracts.tables import INTERACTIONS, check_table, embedding_schema
from contracts.vocabulary import UNKNOWN, Vocabulary

IDS = st.lists(st.text(min_size=1), unique=True, max_size=30)


@given(IDS)
def test_rows_and_ids_are_inverse(ids: list[str]) -> None:
    vocabulary = Vocabulary(ids)
    assert vocabulary.ids(vocabulary.rows(ids)) == ids
    assert len(vocabulary) == len(ids)


@given(IDS, IDS)
def test_the_digest_tells_vocabularies_apart(one: list[str], other: list[str]) -> None:
    assert (Vocabulary(one).digest == Vocabulary(other).digest) == (one == other)


def test_unknown_ids_are_a_path_not_an_exception() -> None:
    vocabulary = Vocabulary(["a", "b"])
    assert vocabulary.rows(["b", "zz", "a"]).tolist() == [1, UNKNOWN, 0]
    assert vocabulary.rows([]).tolist() == []
    with pytest.raises(IndexError, match="row -1 has no id"):
        vocabulary.ids([0, -1])


def test_an_id_stands_once() -> None:
    with pytest.raises(BadInput, match="'a' more than once"):
        Vocabulary(["a", "b", "a"])


def test_more_ids_than_are_taken_at_once(tmp_path: Path) -> None:
    ids = [f"v{number}" for number in range(10_001)]
    Vocabulary(ids).save(tmp_path / "v.parquet")
    loaded = Vocabulary.load(tmp_path / "v.parquet")
    assert loaded == Vocabulary(ids)
    assert loaded.digest == Vocabulary(ids).digest
    assert loaded.rows([*reversed(ids), "zz"]).tolist() == [*range(10_000, -1, -1), UNKNOWN]
    with pytest.raises(BadInput, match=r"10,002 ids.*'v7' more than once"):
        Vocabulary([*ids, "v7"])


def test_it_reloads_equal(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["é", "b c", "0"])
    vocabulary.save(tmp_path / "v.parquet")
    assert Vocabulary.load(tmp_path / "v.parquet") == vocabulary
    assert vocabulary != Vocabulary(["0"])


def test_a_table_must_have_the_columns_of_its_contract() -> None:
    check_table("interactions", INTERACTIONS.empty_table())
    check_table("embedding_visual", embedding_schema().empty_table())
    with pytest.raises(BadInput, match=r"offline table 'users': found columns \{'user_id': 'int64'\}"):
        check_table("users", pa.table({"user_id": [1]}))
    with pytest.raises(BadInput, match="offline table 'misc'"):
        check_table("misc", pa.table({"user_id": [1]}))
