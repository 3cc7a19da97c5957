"""New items against the accepted ones: what must be seen, and what must not."""

import numpy as np
import pytest

from contracts.errors import BadInput
from validation.statistics.drift import drift

WIDTH = 48
ALPHA = 2e-4


def _draw(rows: int, seed: int) -> np.ndarray:
    """A mixture of clusters near a hyperplane, not centred."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    centres, plane = fixed.normal(size=(12, 10)) * 1.5, fixed.normal(size=(10, WIDTH))
    low = centres[rng.integers(0, 12, rows)] + rng.normal(size=(rows, 10))
    return (low @ plane + 0.5 * rng.normal(size=(rows, WIDTH)) + 2).astype(np.float32)


def _dead(x: np.ndarray) -> np.ndarray:
    x[:, 3] = 0
    return x


def _loud(x: np.ndarray) -> np.ndarray:
    x[:, 3] *= 10
    return x


def _garbage(x: np.ndarray) -> np.ndarray:
    rows = len(x) // 20
    x[:rows] = x.mean(axis=0) + x.std(axis=0) * np.random.default_rng(5).normal(size=(rows, WIDTH))
    return x


def _flat(x: np.ndarray) -> np.ndarray:
    axes = np.linalg.svd(_draw(1000, 8) - _draw(1000, 8).mean(axis=0))[2][:4]
    return (x - x.mean(axis=0)) @ axes.T @ axes + x.mean(axis=0)


SIGNS = np.where(np.random.default_rng(3).random(WIDTH) < 0.5, 1, -1)
ORDER = np.random.default_rng(4).permutation(WIDTH)
ROTATION = np.linalg.qr(np.random.default_rng(6).normal(size=(WIDTH, WIDTH)))[0]
FAULTS = {
    "shift": lambda x: x + 0.1 * x.std(axis=0),
    "norms": lambda x: x * 1.5,
    "signs": lambda x: x * SIGNS,
    "order": lambda x: x[:, ORDER],
    "another encoder": lambda x: x @ ROTATION,
    "centred encoder": lambda x: (x - x.mean(axis=0)) @ ROTATION + x.mean(axis=0),
    "dead dimension": _dead,
    "loud dimension": _loud,
    "garbage in 5 %": _garbage,
    "half from elsewhere": lambda x: np.where((np.arange(len(x)) % 2 == 0)[:, None], x, x @ ROTATION),
    "rank": _flat,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_new_tables_are_seen(profile_of, fault) -> None:
    before, now = _draw(2500, 0), FAULTS[fault](_draw(2500, 1))
    found = drift(profile_of(before), profile_of(now, ids=range(5000, 7500)), seed=0)
    assert found.p_value <= ALPHA
    assert found.share == 1


@pytest.mark.parametrize("fault", ["norms", "signs", "order", "another encoder", "loud dimension"])
def test_a_broken_encoder_for_new_uploads_is_seen(profile_of, fault) -> None:
    before = _draw(2500, 0)
    now = np.concatenate([before, FAULTS[fault](_draw(80, 1))])
    found = drift(profile_of(before), profile_of(now), seed=0)
    assert found.p_value <= ALPHA
    assert (found.new, found.share) == (80, pytest.approx(80 / 2580))
    assert {name for name, _ in found.items} <= {f"v{row}" for row in range(2500, 2580)}


def _relu(rows: int, seed: int) -> np.ndarray:
    return np.maximum(_draw(rows, seed) - 6, 0) + np.eye(1, WIDTH, dtype=np.float32)


def _heavy(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(1.5, size=(rows, WIDTH))


def _unit(rows: int, seed: int) -> np.ndarray:
    vectors = _draw(rows, seed)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _repeating(rows: int, seed: int) -> np.ndarray:
    return _draw(60, 0)[np.random.default_rng(seed).integers(0, 60, rows)]


@pytest.mark.parametrize("draw", [_draw, _relu, _heavy, _unit, _repeating])
@pytest.mark.parametrize("new", [30, 600])
def test_new_items_like_the_old_ones_are_no_drift(profile_of, draw, new) -> None:
    alarms = 0
    for seed in range(8):
        x = draw(900 + new, seed)
        found = drift(profile_of(x[:900]), profile_of(x), seed)
        alarms += found.p_value <= 0.01
    assert alarms <= 1


def test_the_items_that_drift_most_come_first(profile_of) -> None:
    now = _draw(300, 1)
    now[[17, 60]] = np.random.default_rng(2).normal(size=(2, WIDTH)) * [[60], [90]]
    found = drift(profile_of(_draw(2000, 0)), profile_of(now, ids=range(5000, 5300)), seed=0)
    assert [name for name, _ in found.items[:2]] == ["v5060", "v5017"]
    assert found.items[0][1] > found.items[1][1] > 2


def test_the_same_seed_gives_the_same_answer(profile_of) -> None:
    before, now = profile_of(_draw(500, 0)), profile_of(_draw(500, 1), ids=range(500, 1000))
    assert drift(before, now, seed=3) == drift(before, now, seed=3)


def test_too_few_say_nothing(profile_of) -> None:
    x = _draw(600, 0)
    assert drift(profile_of(x), profile_of(x), seed=0) is None
    assert drift(profile_of(x[:590]), profile_of(x), seed=0) is None
    assert drift(profile_of(x[:50]), profile_of(x), seed=0) is None
    assert drift(profile_of(x[:0]), profile_of(x), seed=0) is None
    assert drift(profile_of(x), profile_of(x[:0]), seed=0) is None


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e15, 1e36])
def test_scales_do_not_matter(profile_of, scale) -> None:
    x, y = _draw(400, 0) / 40, _draw(400, 1) / 40
    now = [np.float32(scale) * part for part in (y, y * SIGNS)]
    found = [drift(profile_of(np.float32(scale) * x), profile_of(part, ids=range(400, 800)), seed=0) for part in now]
    assert found[0].p_value > 0.01
    assert found[1].p_value <= ALPHA


def test_constant_dimensions_and_constant_tables(profile_of) -> None:
    x = _draw(800, 0)
    x[:, :5] = 3.3
    assert drift(profile_of(x[:400]), profile_of(x[400:], ids=range(400, 800)), seed=0).p_value > 0.001
    flat = np.ones((200, 4), np.float32)
    same = drift(profile_of(flat), profile_of(flat, ids=range(200, 400)), seed=0)
    assert same.p_value == 1
    other = drift(profile_of(flat), profile_of(3 * flat, ids=range(200, 400)), seed=0)
    assert other.p_value <= ALPHA


def test_rounding_of_unit_norms_is_no_drift(profile_of) -> None:
    x = _unit(1200, 0)
    x[600:] *= np.float32(1 + 3e-6)
    assert drift(profile_of(x[:600]), profile_of(x[600:], ids=range(600, 1200)), seed=0).p_value > 0.001


def test_a_monstrous_vector_hides_no_drift(profile_of) -> None:
    now = _draw(1000, 1) * SIGNS
    now[5] = 1e30
    found = drift(profile_of(_draw(1000, 0)), profile_of(now, ids=range(1000, 2000)), seed=0)
    assert found.p_value <= ALPHA
    assert found.p_values["mean"] <= ALPHA


@pytest.mark.parametrize("fault", ["none", "signs", "order"])
def test_few_new_items_of_a_large_table_are_looked_at(profile_of, fault) -> None:
    before, new = _draw(3000, 0), _draw(45, 1)
    new = new if fault == "none" else FAULTS[fault](new)
    now = profile_of(np.concatenate([before, new]), sample=1000, known=3000)
    assert (now.sample_rows >= 3000).sum() < 20
    found = drift(profile_of(before, sample=1000), now, seed=0)
    assert found.new == 45
    assert (found.p_value <= ALPHA) == (fault != "none")
    assert {int(name[1:]) >= 3000 for name, _ in found.items} == {True}


@pytest.mark.parametrize("rows", [3, 300, 1000])
@pytest.mark.parametrize("which", ["before", "now"])
def test_vectors_near_the_end_of_float32(profile_of, rows, which) -> None:
    sides = {"before": _draw(1000, 0), "now": _draw(1000, 1)}
    sides[which][:rows] = np.sign(sides[which][:rows]) * np.float32(3e38)
    found = drift(profile_of(sides["before"]), profile_of(sides["now"], ids=range(1000, 2000)), seed=0)
    assert np.isfinite(list(found.effects.values())).all()
    assert (found.p_value <= ALPHA) == (rows > 3)


def test_widths_must_agree(profile_of) -> None:
    x = _draw(100, 0)
    with pytest.raises(BadInput, match="12 components"):
        drift(profile_of(x), profile_of(x[:, :12]), seed=0)
