"""Every index against a full sort; which one is chosen."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from contracts.errors import BadInput
from training import hnsw, products
from training.hnsw import HnswIndex
from training.indexes import build_index, index_kind, proven_index
from training.matrix_index import MatrixIndex
from training.retrieval import ExactIndex, Index

CPU = torch.device("cpu")
N, USERS, K = 4_000, 32, 20


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 16)).astype(np.float32), rng.normal(size=(USERS, 16)).astype(np.float32)


def best(items: np.ndarray, user: np.ndarray, banned: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
    order = np.argsort(-(items @ user))
    keep = np.isin(order, banned, invert=True)
    return order[keep if allowed is None else keep & allowed[order]][:K]


def recall(index: Index, items: np.ndarray, users: np.ndarray, allowed: np.ndarray | None = None) -> float:
    rng = np.random.default_rng(1)
    banned = [rng.integers(-1, N, size) for size in rng.integers(0, 30, len(users))]
    found = index.search_all(users, K, banned, allowed)
    shares = []
    for (rows, scores), user, mine in zip(found, users, banned, strict=True):
        assert len(rows) == len(set(rows.tolist()))
        assert not np.isin(rows, mine).any()
        assert allowed is None or allowed[rows].all()
        np.testing.assert_allclose(scores, items[rows] @ user, rtol=2e-2, atol=2e-2)
        assert (np.diff(scores) <= 1e-6).all()
        wanted = best(items, user, mine, allowed)
        shares.append(len(set(rows.tolist()) & set(wanted.tolist())) / max(len(wanted), 1))
    return float(np.mean(shares))


@pytest.mark.parametrize(
    ("make", "least"),
    [
        (ExactIndex, 1.0),
        (MatrixIndex, 1.0),
        (lambda items: MatrixIndex(items, "cpu", torch.bfloat16), 0.97),
        (HnswIndex, 0.97),
    ],
    ids=["exact", "matrix", "bfloat16", "hnsw"],
)
@pytest.mark.parametrize("share", [None, 0.9, 0.05, 0.001], ids=str)
def test_what_an_index_finds(
    data: tuple[np.ndarray, np.ndarray], make: Callable[[np.ndarray], Index], least: float, share: float | None
) -> None:
    items, users = data
    allowed = None if share is None else np.random.default_rng(2).random(N) < share
    assert recall(make(items), items, users, allowed) >= least


@pytest.mark.parametrize("make", [ExactIndex, MatrixIndex, HnswIndex])
def test_new_items_are_found_without_building_again(
    data: tuple[np.ndarray, np.ndarray], make: Callable[[np.ndarray], Index]
) -> None:
    items, users = data
    index = make(items)
    index.add(3 * users[:5])
    assert len(index) == N + 5
    for number in range(5):
        assert index.search(users[number], 3)[0][0] == N + number
    withdrawn = np.ones(N + 5, bool)
    withdrawn[N + 2] = False
    assert N + 2 not in index.search(users[2], 3, (), withdrawn)[0]


def test_a_table_in_parts_gives_what_it_gives_in_one(
    data: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    items, users = data
    whole = MatrixIndex(items).search_all(users, K, [()] * USERS)
    monkeypatch.setattr(products, "_SCORES", 300 * USERS)
    parts = MatrixIndex(items).search_all(users, K, [()] * USERS)
    assert [rows.tolist() for rows, _ in parts] == [rows.tolist() for rows, _ in whole]


def test_what_a_user_gets_does_not_depend_on_who_else_is_asked(data: tuple[np.ndarray, np.ndarray]) -> None:
    items, users = data
    index = ExactIndex(items)
    together = index.search_all(users, K, [[7]] * USERS)
    for user, (rows, scores) in zip(users, together, strict=True):
        alone = index.search(user, K, [7])
        assert alone[0].tolist() == rows.tolist()
        assert alone[1].tobytes() == scores.tobytes()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 0.99), (torch.bfloat16, 0.97)])
def test_on_a_gpu(data: tuple[np.ndarray, np.ndarray], dtype: torch.dtype, least: float) -> None:
    items, users = data
    assert recall(MatrixIndex(items, "cuda", dtype), items, users) >= least


def test_short_items_are_found_too() -> None:
    """Those that users like best, where most items are long and point elsewhere: nearest to each by inner product."""
    rng = np.random.default_rng(0)
    items, users = (rng.normal(size=(count, 16)).astype(np.float32) for count in (N, USERS))
    items[:, 0] = np.where(rng.random(N) < 0.8, 20.0, 0.5)
    users[:, 0] = -5.0
    assert recall(HnswIndex(items), items, users) >= 0.97


def test_a_graph_of_nothing_takes_items() -> None:
    graph = HnswIndex(np.empty((0, 4), np.float32))
    graph.add(np.eye(4, dtype=np.float32))
    assert graph.search(np.array([0, 0, 1, 0], np.float32), 1)[0].tolist() == [2]


def test_a_saved_graph_answers_as_it_did(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    items, users = data
    graph = HnswIndex(items)
    graph.save(tmp_path / "index.faiss")
    loaded = HnswIndex.load(tmp_path / "index.faiss")
    for mine, theirs in zip(*(g.search_all(users, K, [()] * USERS) for g in (graph, loaded)), strict=True):
        assert mine[0].tolist() == theirs[0].tolist()


def test_a_graph_is_searched_as_widely_as_its_vectors_need(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    items, users = (rng.normal(size=(count, 96)).astype(np.float32) for count in (6_000, 32))
    graph = HnswIndex(items)
    before, narrow = graph.breadth, graph.widen(users, K, least=0.0)
    assert graph.breadth == before, "that was enough"
    assert narrow < 0.999
    assert graph.widen(users, K, least=0.999) > narrow
    assert graph.breadth > before
    assert graph.widen(users, K, least=1.01) <= 1.0, "it ends where no breadth is enough"
    graph.save(tmp_path / "index.faiss")
    assert HnswIndex.load(tmp_path / "index.faiss").breadth == graph.breadth


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    import faiss

    (tmp_path / "index.faiss").write_bytes(b"IHNf and nothing that follows")
    with pytest.raises(BadInput, match="expected an HNSW graph"):
        HnswIndex.load(tmp_path / "index.faiss")
    faiss.write_index(faiss.IndexFlatIP(4), str(tmp_path / "flat.faiss"))
    with pytest.raises(BadInput, match="IndexFlat"):
        HnswIndex.load(tmp_path / "flat.faiss")


@pytest.mark.parametrize(
    ("wanted", "items", "device", "kind"),
    [
        ("auto", 100, "cpu", "exact"),
        ("auto", 101, "cpu", "hnsw"),
        ("auto", 101, "cuda", "exact"),
        ("exact", 101, "cpu", "exact"),
        ("hnsw", 5, "cuda", "hnsw"),
    ],
)
def test_which_kind(wanted: object, items: int, device: str, kind: str) -> None:
    assert index_kind(wanted, items, 100, torch.device(device)) == kind  # type: ignore[arg-type]


def test_what_is_built() -> None:
    vectors = np.eye(3, dtype=np.float32)
    assert isinstance(build_index(vectors, "exact", CPU), ExactIndex)
    assert isinstance(build_index(vectors, "exact", CPU, "bfloat16"), MatrixIndex)
    assert build_index(vectors, "hnsw", CPU).kind == "hnsw"


@pytest.mark.parametrize(
    ("wanted", "kind", "said"),
    [("auto", "exact", "found exactly instead"), ("hnsw", "hnsw", "kept, as BACKBEAT_INDEX")],
)
def test_a_graph_that_finds_too_little_is_taken_only_where_it_is_asked_for(
    wanted: Literal["auto", "hnsw"],
    kind: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hnsw, "_WIDEST", 192)
    rng = np.random.default_rng(0)  # of nothing but chance: nothing leads anywhere
    items, users = (rng.normal(size=(count, 256)).astype(np.float32) for count in (N, USERS))
    graph = HnswIndex(items)
    assert graph.widen(users) < 0.95, "as wide as it goes"
    index = proven_index(graph, items, users, wanted)
    assert index.kind == kind
    assert said in capsys.readouterr().err
    assert (recall(index, items, users) == 1.0) == (kind == "exact")


def test_a_graph_that_finds_enough_is_taken(
    data: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    items, users = data
    graph, exact = HnswIndex(items), ExactIndex(items)
    assert proven_index(graph, items, users, "auto") is graph
    assert proven_index(exact, items, users, "auto") is exact
    assert capsys.readouterr().err == ""
