"""Rules beside an accepted snapshot: sound data hold, and each fault is told by its own rule."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from contracts.reports import Finding, SuiteVerdict
from validation.judge import judge
from validation.material import Baseline, Material, history_key
from validation.statistics.profile import Profile
from validation.suites.learned_rules import learned_rules
from validation.suites.vector_rules import rules_on_table

TABLE = "embedding_visual"


def _verdicts(material: Material) -> dict[str, SuiteVerdict]:
    verdicts = [judgement.verdict for judgement in judge(material).judgements]
    return {verdict.table: verdict for verdict in verdicts if verdict.suite != "splits"}


def _findings(material: Material, table: str = TABLE) -> dict[str | None, Finding]:
    return {finding.column: finding for finding in _verdicts(material)[table].findings}


def test_the_same_data_hold_again_and_nothing_is_left_out_but_drift(many, accepted: Baseline) -> None:
    verdicts = _verdicts(many.material(accepted))
    assert all(verdict.success for verdict in verdicts.values()), verdicts
    assert verdicts[TABLE].notes == ["fewer than 20 new items: no test of drift"]
    assert all(verdicts[table].notes == [] for table in ("interactions", "users", "videos", "clusters"))


def test_a_first_snapshot_says_that_nothing_was_compared(many) -> None:
    verdicts = _verdicts(many.material())
    assert verdicts[TABLE].notes == ["no accepted snapshot: absolute rules only"]
    assert "absolute rules only" in verdicts["interactions"].notes[0]
    assert "absolute rules only" in verdicts["clusters"].notes[0]


def _some_zero(matrix: np.ndarray) -> None:
    matrix[:20] = 0


def _some_constant(matrix: np.ndarray) -> None:
    matrix[:20] = np.arange(2, 22)[:, None]


def _some_repeated(matrix: np.ndarray) -> None:
    matrix[:16] = matrix[20]


def _some_nearly_repeated(matrix: np.ndarray) -> None:
    matrix[:16] = matrix[20] * (1 + np.linspace(1e-4, 1e-3, 16, dtype=np.float32)[:, None])


def _clipped(matrix: np.ndarray) -> None:
    np.clip(matrix, -1, 1, out=matrix)


def _half_rank(matrix: np.ndarray) -> None:
    matrix[:, 8:] = matrix[:, :8]


def _one_direction(matrix: np.ndarray) -> None:
    matrix[:, 0] *= 6


def _longer(matrix: np.ndarray) -> None:
    matrix *= 1.5


def _some_longer(matrix: np.ndarray) -> None:
    matrix[:20] *= 8


def _dead(matrix: np.ndarray) -> None:
    matrix[:, 11] = 0.25


def _shifted_rows(matrix: np.ndarray) -> None:
    matrix[:] = np.roll(matrix, 1, axis=0)


def _swapped_rows(matrix: np.ndarray) -> None:
    matrix[:20] = matrix[:20][::-1].copy()


def _moved_mean(matrix: np.ndarray) -> None:
    matrix += 0.1


def _other_encoder(matrix: np.ndarray) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))
    matrix[:] = matrix @ rotation


def _noisy(matrix: np.ndarray) -> None:
    matrix += np.random.default_rng(1).normal(size=matrix.shape) * 0.8


def _hubs(matrix: np.ndarray) -> None:
    matrix[:4] = matrix.mean(axis=0) + np.random.default_rng(1).normal(size=(4, 16)) * 0.01


def _nearly_one_vector(matrix: np.ndarray) -> None:
    matrix[:] = 3 + np.random.default_rng(1).normal(size=matrix.shape) * 1e-3


@pytest.mark.parametrize(
    ("fault", "columns"),
    [
        (_some_zero, {"zero_share"}),
        (_some_constant, {"constant_share"}),
        (_some_repeated, {"repeated_share"}),
        (_some_nearly_repeated, {"near_duplicate_share"}),
        (_clipped, {"clipped_share", "changed_share"}),
        (_half_rank, {"effective_rank", "changed_share", "neighbour_overlap"}),
        (_one_direction, {"top_eigenvalue_share", "effective_rank"}),
        (_longer, {"norm_median", "changed_share"}),
        (_some_longer, {"norm_outlier_share", "changed_share"}),
        (_dead, {"newly_dead_dimensions"}),
        (_shifted_rows, {"moved_share", "changed_share", "neighbour_overlap"}),
        (_swapped_rows, {"moved_share", "changed_share"}),
        (_moved_mean, {"shift", "changed_share"}),
        (_other_encoder, {"changed_share"}),
        (_noisy, {"changed_share", "neighbour_overlap"}),
        (_hubs, {"neighbour_overlap"}),
        (_nearly_one_vector, {"relative_spread"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_fault_of_the_vectors_breaks_its_rules(
    many, accepted: Baseline, fault: Callable[[np.ndarray], None], columns: set[str]
) -> None:
    matrix = many.matrix().copy()
    fault(matrix)
    many.put_matrix(matrix)
    findings = _findings(many.material(accepted))
    assert columns <= set(findings)
    assert all(finding.advice.endswith(".") and 0 < finding.severity <= 1 for finding in findings.values())


def test_items_and_dimensions_are_named(many, accepted: Baseline) -> None:
    sound = many.matrix()
    many.put_matrix(np.roll(sound, 1, axis=0))
    assert _findings(many.material(accepted))["moved_share"].examples[0] == "v0 carries the vector of v399"
    dead = sound.copy()
    dead[:, 11] = 0.25
    many.put_matrix(dead)
    assert _findings(many.material(accepted))["newly_dead_dimensions"].examples == ["dimension 11"]


def _renew(data, count: int) -> None:
    """The first videos have gone and others of their kind have come."""
    rng = np.random.default_rng(5)

    def name(number: int) -> str:
        return f"w{number}" if number < count else f"v{number}"

    for modality in ("visual", "acoustic"):
        matrix = data.matrix(modality).copy()
        matrix[:count] = rng.normal(size=(count, data.width))
        data.put_matrix(matrix, modality)
        data.put(f"embedding_{modality}", "video_id", [name(number) for number in range(data.videos)])
    data.put("videos", "video_id", [name(number) for number in range(data.videos)])
    watched = data.tables["interactions"]["video_id"].to_pylist()
    data.put("interactions", "video_id", [name(int(video[1:])) for video in watched])


def _without(data, rows: Iterable[int], *tables: str) -> None:
    lost = set(rows)
    kept = [row for row in range(data.videos) if row not in lost]
    for table in tables:
        data.tables[table] = data.tables[table].take(kept)


def test_vectors_that_are_gone(many, accepted: Baseline) -> None:
    _without(many, range(100, 140), TABLE)
    findings = _findings(many.material(accepted))
    assert {"coverage", "lost_share", "shrunk_share"} <= set(findings)
    assert findings["lost_share"].severity == pytest.approx((1 + 1 - 0.02 / 0.1) / 2)


def test_items_that_are_gone_with_their_vectors_are_told_by_the_size(many, accepted: Baseline) -> None:
    _without(many, range(100, 140), TABLE, "embedding_acoustic", "videos")
    findings = _findings(many.material(accepted))
    assert "shrunk_share" in findings
    assert "lost_share" not in findings


def test_turnover_of_the_catalogue_is_no_loss(many, accepted: Baseline) -> None:
    _renew(many, 60)
    verdicts = _verdicts(many.material(accepted))
    assert all(verdict.success for verdict in verdicts.values()), verdicts


def test_a_catalogue_of_other_items_leaves_out_what_compares_them_one_by_one(many, accepted: Baseline) -> None:
    _renew(many, 400)
    verdict = _verdicts(many.material(accepted))[TABLE]
    assert verdict.success, verdict
    assert any("no item in common" in note for note in verdict.notes)


def test_new_items_of_another_kind_drift(many, accepted: Baseline) -> None:
    _renew(many, 200)
    matrix = many.matrix().copy()
    matrix[:200] += 2
    many.put_matrix(matrix)
    finding = _findings(many.material(accepted))["drift"]
    assert "200 new items differ in" in finding.observed
    assert all(example.startswith("w") for example in finding.examples)
    verdicts = _verdicts(many.material(accepted))
    assert "drift" not in {finding.column for finding in verdicts["embedding_acoustic"].findings}


def test_a_statistic_that_accepted_snapshots_had_must_be_measured(many, accepted: Baseline) -> None:
    _without(many, range(10, 400), TABLE)
    findings = _findings(many.material(accepted))
    assert findings["hub_share"].observed == "could not be measured"


def test_bands_widen_with_what_accepted_snapshots_had(many, accepted: Baseline) -> None:
    matrix = many.matrix().copy()
    matrix[:20] = 0
    many.put_matrix(matrix)
    assert "zero_share" in _findings(many.material(accepted))
    assert "zero_share" not in _findings(many.material(_with_history(accepted, {"zero_share": 0.05})))


_BOTH_WAYS = ("effective_rank", "top_eigenvalue_share", "relative_spread", "norm_median", "norm_spread")
_NOT_UP = ("hub_share", "hub_concentration", "hubness_skewness")


def _with_history(accepted: Baseline, statistics: dict[str, float]) -> Baseline:
    """The same, but the accepted visual vectors had other statistics."""
    key = history_key(accepted.snapshot, TABLE)
    pasts = [past | statistics for past in accepted.history[key]]
    return replace(accepted, history={**accepted.history, key: pasts})


@pytest.mark.parametrize("factor", [0.05, 20])
def test_statistics_may_go_neither_up_nor_down(many, accepted: Baseline, factor: float) -> None:
    past = accepted.history[history_key(accepted.snapshot, TABLE)][-1]
    other = _with_history(accepted, {name: past[name] * factor for name in _BOTH_WAYS})
    assert set(_findings(many.material(other))) >= set(_BOTH_WAYS)


@pytest.mark.parametrize(("factor", "held"), [(0.2, False), (1, True), (5, True)])
def test_hubs_may_not_become_more(many, accepted: Baseline, factor: float, held: bool) -> None:
    profile = accepted.profiles[many.raw.specs["visual"].digest]
    sharp = replace(profile, errors=dict.fromkeys(profile.errors, 1e-6))  # 400 items say little of hubs
    history = [{name: profile.statistics[name] * factor for name in _NOT_UP}]
    rules = {rule.expectation.column: rule.expectation for rule in learned_rules(history, sharp, sharp)}
    assert [rules[name].holds(profile.statistics[name]) for name in _NOT_UP] == [held] * 3


def test_vectors_that_lag_behind(many, accepted: Baseline) -> None:
    later = many.tables["videos"]["event_time"].to_pylist()
    later[-1] += timedelta(days=30)
    many.put("videos", "event_time", later)
    assert set(_findings(many.material(accepted))) == {"freshness_lag_hours"}
    assert _findings(many.material(_with_history(accepted, {"freshness_lag_hours": 600.0}))) == {}


def _limits(history: list[dict[str, float]], profile: Profile) -> dict[str, Any]:
    return {rule.expectation.column: rule.expectation for rule in learned_rules(history, profile, None)}


def _within(limit: Any, value: float) -> bool:
    return limit.holds(value) if hasattr(limit, "holds") else value <= limit.max_value


@pytest.mark.parametrize("daily", [1, 10, 100])
def test_an_encoder_that_has_stopped_is_told_within_days(accepted: Baseline, daily: int) -> None:
    """10,000 videos, and new ones every day of which none is encoded; what passes is accepted."""
    profile = next(iter(accepted.profiles.values()))
    now = replace(profile, statistics={"rows": 10_000.0})
    history = [{"rows": 10_000.0, "coverage": 1.0, "recent_coverage": 1.0, "freshness_lag_hours": 0.0}] * 5
    for day in range(1, 30):
        videos = 10_000 + daily * day
        recent = max(1 - daily * day / (0.05 * videos), 0.0)
        today = {"rows": 1e4, "coverage": 1e4 / videos, "recent_coverage": recent, "freshness_lag_hours": 24.0 * day}
        limits = _limits(history[-20:], now)
        if not all(_within(limits[name], value) for name, value in today.items() if name in limits):
            break
        history.append(today)
    assert day <= 3


@pytest.mark.parametrize(("column", "fall", "days"), [("coverage", 0.001, 12), ("recent_coverage", 0.02, 12)])
def test_a_slow_fall_adds_up(accepted: Baseline, column: str, fall: float, days: int) -> None:
    now = replace(next(iter(accepted.profiles.values())), statistics={"rows": 10_000.0})
    history = [{"rows": 10_000.0, column: 1.0}]
    while _limits(history[-20:], now)[column].holds(1 - fall * len(history)):
        history.append({"rows": 10_000.0, column: 1 - fall * len(history)})
    assert 3 <= len(history) <= days


def test_what_a_person_has_accepted_is_the_new_level(accepted: Baseline) -> None:
    now = replace(next(iter(accepted.profiles.values())), statistics={"rows": 10_000.0})
    sound = {"rows": 1e4, "coverage": 1.0, "recent_coverage": 1.0, "freshness_lag_hours": 2.0, "norm_median": 4.0}
    other = {"rows": 1e4, "coverage": 0.8, "recent_coverage": 0.5, "freshness_lag_hours": 90.0, "norm_median": 9.0}
    before, after = _limits([sound] * 19, now), _limits([sound] * 19 + [other], now)
    for name in sorted(other.keys() - {"rows"}):
        assert not _within(before[name], other[name]), name
        assert _within(after[name], other[name]), name


def test_the_newest_must_not_all_lack_vectors_whatever_came_before(data) -> None:
    spec = data.raw.specs["visual"]

    def columns(rows: int) -> set[str]:
        return {rule.expectation.column for rule in rules_on_table(spec, rows)}

    assert columns(1000) - columns(999) == {"recent_coverage"}
    rules = {rule.expectation.column: rule.expectation for rule in rules_on_table(spec, 1000)}
    assert rules["recent_coverage"].min_value == 0.2


def test_who_repeats_and_who_is_clipped_is_named(many, accepted: Baseline) -> None:
    matrix = many.matrix().copy()
    _some_nearly_repeated(matrix)
    many.put_matrix(matrix)
    assert _findings(many.material(accepted))["near_duplicate_share"].examples == [f"v{n}" for n in range(1, 6)]


@pytest.mark.parametrize(
    ("column", "held", "broken"),
    [("zero_share", 0.001, 0.0012), ("coverage", 0.995, 0.99), ("recent_coverage", 0.98, 0.97)],
)
def test_a_trifle_in_a_large_table_wakes_nobody(
    many, accepted: Baseline, column: str, held: float, broken: float
) -> None:
    profile = accepted.profiles[many.raw.specs["visual"].digest]
    million = {**profile.statistics, "rows": 1e6}
    large = replace(profile, statistics=million)
    rules = {rule.expectation.column: rule.expectation for rule in learned_rules([million] * 3, large, profile)}
    assert rules[column].holds(held)
    assert not rules[column].holds(broken)
