"""Rounding may hide the best, but never without being noticed."""

import numpy as np
import pytest
import torch

from training import retrieval
from training.halved import HalvedTable, halving_pays
from training.products import pairs_of
from training.retrieval import ExactIndex

WIDTH, K = 16, 5


def normal(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)


@pytest.fixture
def halving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this processor multiplies quickly."""
    monkeypatch.setattr(retrieval, "halving_pays", lambda rows: True)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_no_other_row_scores_more_than_is_said(scale: float) -> None:
    table, users = normal(500, 0) * scale, normal(40, 1)
    rows, ceilings = HalvedTable(table).best(torch.from_numpy(users), K, None)
    exact = users.astype(np.float64) @ table.T.astype(np.float64)
    np.put_along_axis(exact, rows, -np.inf, axis=1)
    assert (exact.max(axis=1) <= ceilings).all()
    assert (ceilings < exact.max(axis=1) + 0.1 * scale * WIDTH).all()


def test_rows_appended_count_too() -> None:
    table, users = normal(100, 0), normal(40, 1)
    halved = HalvedTable(table)
    halved.add(10 * normal(100, 2))
    rows, ceilings = halved.best(torch.from_numpy(users), K, None)
    exact = users @ np.concatenate([table, 10 * normal(100, 2)]).T
    np.put_along_axis(exact, rows, -np.inf, axis=1)
    assert (rows >= 100).any()
    assert (exact.max(axis=1) <= ceilings).all()


def test_what_is_banned_or_not_allowed_is_not_found() -> None:
    users = torch.from_numpy(normal(2, 1))
    allowed = np.zeros(30, dtype=bool)
    allowed[:6] = True
    banned = pairs_of([np.array([0, 1, -1]), np.array([2])], users.device)
    rows, ceilings = HalvedTable(normal(30, 0)).best(users, K, torch.from_numpy(allowed), banned)
    assert [sorted(set(mine[mine >= 0].tolist())) for mine in rows] == [[2, 3, 4, 5], [0, 1, 3, 4, 5]]
    assert (ceilings == -np.inf).all()


@pytest.mark.usefixtures("halving")
def test_lists_are_those_of_single_requests_to_the_last_bit() -> None:
    index, users = ExactIndex(normal(5_000, 0)), normal(64, 1)
    banned = [np.random.default_rng(row).integers(-1, 5_000, 50) for row in range(64)]
    together = index.search_all(users, K, banned)
    for user, mine, (rows, scores) in zip(users, banned, together, strict=True):
        alone = index.search(user, K, mine)
        assert rows.tolist() == alone[0].tolist()
        assert scores.tolist() == alone[1].tolist()


@pytest.mark.usefixtures("halving")
def test_differences_that_rounding_hides_are_found_all_the_same() -> None:
    table = np.tile(normal(1, 0), (300, 1))
    table[:, 0] += np.random.default_rng(1).permutation(300).astype(np.float32) * 1e-5
    users = np.tile(np.eye(WIDTH, dtype=np.float32)[0] + np.float32(1), (4, 1))
    best = np.argsort(-table[:, 0].astype(np.float64))[:K]
    for rows, _ in ExactIndex(table).search_all(users, K, [()] * 4):
        assert rows.tolist() == best.tolist()


@pytest.mark.usefixtures("halving")
def test_a_table_that_tells_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_TRIED", 8)
    index = ExactIndex(np.tile(normal(1, 0), (300, 1)))
    users, asked = normal(4, 1), []
    best = HalvedTable.best
    monkeypatch.setattr(HalvedTable, "best", lambda *args: asked.append(1) or best(*args))
    for _ in range(4):
        assert [rows.tolist() for rows, _ in index.search_all(users, K, [()] * 4)] == [list(range(K))] * 4
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("able", "rows", "pays"),
    [
        ({"avx512_bf16": True}, 100_000, True),
        ({"amx_bf16": True}, 100_000, True),
        ({"avx512_bf16": False, "amx_bf16": False}, 100_000, False),
        ({}, 100_000, False),
        ({"avx512_bf16": True}, 1_000, False),
    ],
)
def test_it_pays_where_the_processor_multiplies_it_and_the_table_is_long(
    able: dict[str, bool], rows: int, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert halving_pays(rows) is pays
