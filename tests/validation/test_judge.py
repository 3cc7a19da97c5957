"""What judging gives: verdicts for any input, the rows at fault, what is kept, and how tables are read."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from contracts.reports import SuiteVerdict
from contracts.tables import embedding_schema
from validation import comparison
from validation.judge import Judged, Judgement, judge, rules_of
from validation.material import Baseline, history_key

TABLE = "embedding_visual"


def _of(judged: Judged, table: str = TABLE) -> Judgement:
    (found,) = [one for one in judged.judgements if one.verdict.table == table and one.verdict.suite != "splits"]
    return found


def test_rows_at_fault_are_told_by_number_and_rule(many) -> None:
    matrix = many.matrix().copy()
    matrix[7, 3] = np.nan
    matrix[[7, 9]] *= 1e6
    many.put_matrix(matrix)
    found = _of(judge(many.material()))
    assert found.offenders.tolist() == [7, 9]
    assert {rule: rows.tolist() for rule, rows in found.broken.items()} == {
        "no component is NaN or infinite": [7],
        "99.9% of the norms lie between 0.02 and 50 times their median": [7, 9],
        "vectors keep to 1% in half precision: nothing overflows or vanishes": [9],
    }


def test_few_rows_at_fault_may_be_set_aside_and_many_are_the_tables(many) -> None:
    matrix = many.matrix().copy()
    matrix[:4, 0] = np.inf
    many.put_matrix(matrix)
    few = _of(judge(many.material()))
    assert (few.whole, len(few.offenders)) == (False, 4)
    matrix[:5, 0] = np.inf
    many.put_matrix(matrix)
    assert _of(judge(many.material())).whole


def test_a_missing_vector_is_no_row_that_could_be_set_aside(many) -> None:
    many.tables[TABLE] = many.tables[TABLE].slice(0, 100)
    found = _of(judge(many.material()))
    assert (found.whole, found.offenders.tolist(), dict(found.broken)) == (True, [], {})


def test_a_broken_rule_on_the_table_is_the_whole_tables(many, accepted: Baseline) -> None:
    many.put_matrix(np.roll(many.matrix(), 1, axis=0))
    found = _of(judge(many.material(accepted)))
    assert found.whole
    assert found.offenders.tolist() == []


def test_the_worst_comes_first_by_the_share_of_rows(many) -> None:
    matrix = many.matrix().copy()
    matrix[0, 0] = np.nan
    matrix[30:50] = 0
    many.put_matrix(matrix)
    many.put("interactions", "kind", ["stare"] * 90 + ["view"] * 270)
    judged = judge(many.material())
    assert [j.verdict.table for j in judged.judgements[:2]] == ["interactions", TABLE]
    assert [j.severity for j in judged.judgements[:2]] == [0.625, 0.525]
    assert [f.severity for f in judged.judgements[1].verdict.findings] == [0.525, 0.50125]
    assert not judged.success


def test_examples_stand_in_the_results_by_name(many) -> None:
    ids = many.tables[TABLE]["video_id"].to_pylist()
    ids[1] = "v0"
    many.put(TABLE, "video_id", ids)
    matrix = many.matrix().copy()
    matrix[7] = 0
    matrix[7, 0] = 1e9
    many.put_matrix(matrix)
    rows, _ = _of(judge(many.material())).results
    broken = {one.expectation_config.kwargs["column"]: one.result for one in rows.results if not one.success}
    assert broken["relative_norm"]["partial_unexpected_index_list"][0]["video_id"] == "v7"
    assert broken["video_id"]["partial_unexpected_list"] == ["v0", "v0"]
    assert broken["video_id"]["examples"] == ["v0", "v0"]


def test_of_two_vectors_of_an_item_the_first_may_stay(many) -> None:
    ids = many.tables[TABLE]["video_id"].to_pylist()
    ids[9] = ids[30] = "v4"
    many.put(TABLE, "video_id", ids)
    found = _of(judge(many.material()))
    assert found.offenders.tolist() == [9, 30]
    assert found.verdict.findings[0].observed == "3 of 402 rows (0.7%) break it"


# Bad input


def _vectors(data, rows: np.ndarray) -> None:
    table = data.tables[TABLE].slice(0, len(rows))
    vectors = pa.array(list(rows.astype(np.float32)), pa.list_(pa.float32()))
    data.tables[TABLE] = table.set_column(1, table.schema.field("vector"), vectors)


@pytest.mark.parametrize("with_baseline", [False, True], ids=["first", "compared"])
@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        (np.zeros((0, 16)), "at least 50% of the videos have a vector"),
        (np.ones((1, 16)), "at most 1% of the vectors have all components equal"),
        (np.random.default_rng(0).normal(size=(1, 16)), "at least 50% of the videos have a vector"),
        (np.tile(np.arange(16.0), (400, 1)), "at most 20% of the vectors repeat another one"),
        (np.zeros((400, 16)), "at most 2% of the vectors are zero"),
        (np.full((400, 16), np.nan), "no component is NaN or infinite"),
        (np.random.default_rng(0).normal(size=(400, 15)), "every vector has the 16 components of its spec"),
        (np.random.default_rng(0).normal(size=(30, 16)), "at least 50% of the videos have a vector"),
    ],
    ids=["empty", "one equal", "one", "identical", "zeros", "nan", "another width", "few"],
)
def test_whatever_is_in_a_table_there_is_a_verdict(
    many, accepted: Baseline, rows: np.ndarray, rule: str, with_baseline: bool
) -> None:
    _vectors(many, rows)
    verdict = _of(judge(many.material(accepted if with_baseline else None))).verdict
    assert not verdict.success
    assert rule in {finding.rule for finding in verdict.findings}
    assert not any("could not be evaluated" in finding.observed for finding in verdict.findings)


@pytest.mark.parametrize("with_baseline", [False, True], ids=["first", "compared"])
def test_tables_without_any_row(many, accepted: Baseline, with_baseline: bool) -> None:
    for table in many.tables:
        many.tables[table] = many.tables[table].slice(0, 0)
    judged = judge(many.material(accepted if with_baseline else None))
    assert all(not judgement.verdict.success for judgement in judged.judgements)
    observed = [f.observed for j in judged.judgements for f in j.verdict.findings]
    assert not any("could not be evaluated" in words for words in observed)


def test_a_small_sound_table_says_what_it_is_too_small_for(data) -> None:
    data.put_matrix(np.zeros((60, 8), np.float32))
    for table in ("videos", TABLE, "embedding_acoustic"):
        data.tables[table] = data.tables[table].slice(0, 1)
    matrix = np.arange(8, dtype=np.float32)[None]
    data.put_matrix(matrix)
    verdict = _of(judge(data.material())).verdict
    assert verdict.success
    assert any("effective rank could not be measured" in note for note in verdict.notes)


# Modalities


@pytest.fixture
def agreeing(many):
    """Both modalities see the same thing, each in its own space."""
    rng = np.random.default_rng(3)
    seen = rng.normal(size=(400, 6))
    for modality in ("visual", "acoustic"):
        matrix = seen @ rng.normal(size=(6, 16)) + rng.normal(size=(400, 16)) * 0.1
        many.put_matrix(matrix.astype(np.float32), modality)
    return many


def _margins(verdict: SuiteVerdict) -> set[str | None]:
    return {f.column for f in verdict.findings if f.column and f.column.startswith(("margin", "new_pairs"))}


def test_modalities_that_no_longer_go_together(agreeing) -> None:
    accepted = agreeing.accepted(times=3)
    judged = judge(agreeing.material(accepted))
    assert judged.success
    assert judged.statistics[TABLE]["margin_acoustic"] > 1
    matrix = agreeing.matrix("acoustic")
    agreeing.put_matrix(matrix[np.random.default_rng(0).permutation(400)], "acoustic")
    verdict = _of(judge(agreeing.material(accepted))).verdict
    assert _margins(verdict) == {"margin_acoustic"}


def test_new_items_whose_modalities_do_not_go_together(agreeing) -> None:
    accepted = agreeing.accepted()
    for table in ("videos", TABLE, "embedding_acoustic"):
        agreeing.put(table, "video_id", [f"w{n}" if n < 100 else f"v{n}" for n in range(400)])
    watched = agreeing.tables["interactions"]["video_id"].to_pylist()
    agreeing.put("interactions", "video_id", [f"w{v[1:]}" if int(v[1:]) < 100 else v for v in watched])
    assert _margins(_of(judge(agreeing.material(accepted))).verdict) == set()
    matrix = agreeing.matrix("acoustic").copy()
    matrix[:100] = np.roll(matrix[:100], 1, axis=0)
    agreeing.put_matrix(matrix, "acoustic")
    assert "new_pairs_acoustic" in _margins(_of(judge(agreeing.material(accepted))).verdict)


def test_a_margin_that_accepted_snapshots_had_must_be_measured(agreeing) -> None:
    accepted = agreeing.accepted()
    agreeing.tables["embedding_acoustic"] = agreeing.tables["embedding_acoustic"].slice(0, 150)
    findings = {f.column: f.observed for f in _of(judge(agreeing.material(accepted))).verdict.findings}
    assert findings["margin_acoustic"] == "could not be measured"


def test_p_values_are_corrected_for_all_views(many, accepted: Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in ("videos", TABLE, "embedding_acoustic"):
        many.put(table, "video_id", [f"w{n}" if n < 200 else f"v{n}" for n in range(400)])
    profiles = judge(many.material()).profiles
    material = many.material(accepted)
    tables = {f"embedding_{name}": profiles[spec.digest] for name, spec in many.raw.specs.items()}
    sound = comparison.drift(next(iter(accepted.profiles.values())), next(iter(profiles.values())), 0)
    assert sound is not None

    def drifted(*_: object) -> object:
        return replace(sound, p_values={"mean": 0.0015}, effects={"mean": 5.0})

    monkeypatch.setattr(comparison, "drift", drifted)
    both = comparison.compare_tables(material, tables)
    assert [both[table].p_values["drift"] for table in sorted(tables)] == [0.003, 0.003]
    one = comparison.compare_tables(material, {TABLE: tables[TABLE]})
    assert one[TABLE].p_values["drift"] == 0.0015


# What is kept and what is read


def test_what_is_kept_lets_the_next_snapshot_be_compared(many) -> None:
    judged = judge(many.material())
    assert set(judged.profiles) == {spec.digest for spec in many.raw.specs.values()}
    assert set(judged.statistics) == {*many.tables, "clusters"}
    assert {"effective_rank", "coverage", "norm_median"} <= set(judged.statistics[TABLE])
    assert all(np.isfinite(value) for statistics in judged.statistics.values() for value in statistics.values())
    history = {history_key(many.snapshot, TABLE): [judged.statistics[TABLE]]}
    compared = judge(many.material(Baseline(many.snapshot, judged.profiles, history)))
    assert {"changed_share", "moved_share", "shift"} <= set(compared.statistics[TABLE])
    assert compared.comparisons[TABLE].paired.common == 400


class _Counted(Mapping[str, pa.Table]):
    """Tables that say how often each was taken."""

    def __init__(self, tables: dict[str, pa.Table]) -> None:
        self._tables = tables
        self.taken: list[str] = []

    def __getitem__(self, name: str) -> pa.Table:
        self.taken.append(name)
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def test_a_table_of_vectors_is_read_once(many, accepted: Baseline) -> None:
    tables = _Counted(many.tables)
    judge(replace(many.material(accepted), tables=tables))
    assert [name for name in tables.taken if name.startswith("embedding_")] == [
        "embedding_visual",
        "embedding_acoustic",
    ]


def test_the_rules_of_a_snapshot_are_those_that_it_is_held_against(many, accepted: Baseline) -> None:
    material = many.material(accepted)
    evaluated = {(j.verdict.suite, j.verdict.table): j.verdict.evaluated for j in judge(material).judgements}
    rules = list(rules_of(material))
    assert {place: sum((name, table) == place for name, table, _ in rules) for place in evaluated} == evaluated
    assert any(rule.compared for *_, rule in rules)
    assert not any(rule.compared for *_, rule in rules_of(many.material()))


def test_an_entity_without_a_suite_of_its_own_is_judged_by_the_general_one(many) -> None:
    spec = many.raw.specs["visual"].model_copy(update={"entity": "music"})
    many.raw.specs["music_visual"] = spec
    many.tables["embedding_music_visual"] = embedding_schema("music").empty_table()
    verdict = _of(judge(many.material()), "embedding_music_visual").verdict
    assert verdict.suite == "embeddings"
    assert verdict.findings[0].rule == "there is at least one of the music"
