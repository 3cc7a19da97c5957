"""Tables that could be run: their rows fit the models, their figures the papers."""

from collections import Counter

import pytest

from contracts.clock import utc_now
from contracts.snapshot import Snapshot, SplitInstants
from training.config import resolve_config
from training.experiments.catalogue import TABLES
from training.experiments.tables import CHANCE, Row, Table
from training.models import MODELS
from training.questions import question_of
from training.studies import study_of

SNAPSHOT = Snapshot(
    id="s",
    dataset="d",
    source="a test",
    created_at=utc_now(),
    tables={},
    embeddings={},
    split=SplitInstants(
        train_until="2000-01-02T00:00:00Z",  # type: ignore[arg-type]
        validation_until="2000-01-03T00:00:00Z",  # type: ignore[arg-type]
        nominal=True,
    ),
)


def service_of(table: Table, row: Row) -> str:
    return row.service or table.service or MODELS[str(row.model)].feature_service


def built(table: Table) -> list[Row]:
    return [row for row in table.rows if row.model is not None]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_is_sound(table: Table) -> None:
    assert TABLES[table.name] is table
    labels, keys = [column.label for column in table.columns], Counter(row.key for row in table.rows)
    assert max(Counter(labels).values()) == max(keys.values()) == 1
    assert all(set(row.paper) <= set(labels) for row in table.rows)
    assert {label for pair in table.orderings for label in pair} <= {row.label for row in table.rows}
    assert table.prepare
    for row in built(table):
        if row.model == CHANCE:
            assert row.service or table.service
        else:
            resolve_config(str(row.model), MODELS[str(row.model)].config, row.overrides)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_rows_of_a_group_are_measured_alike_and_fill_the_columns(table: Table) -> None:
    for group in {row.group for row in table.rows}:
        digests = set()
        for row in (row for row in built(table) if row.group == group):
            study = row.study or table.study or study_of(question_of(service_of(table, row)))
            digests.add(study.fingerprint(SNAPSHOT).digest)
            cutoffs = {f"at_{k}" for k in study.protocol.cutoffs}
            assert all(column.metric.rpartition("_at_")[2].isdecimal() for column in table.columns)
            assert {f"at_{column.metric.rpartition('_at_')[2]}" for column in table.columns} <= cutoffs
            assert all(column.metric.startswith("test_") for column in table.columns)
        assert len(digests) <= 1


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_rows_of_one_model_differ_in_their_variant(table: Table) -> None:
    kinds = Counter(
        (row.model, row.group, MODELS[str(row.model)].config(**row.overrides).variant)
        for row in built(table)
        if row.model != CHANCE
    )
    assert max(kinds.values()) == 1


def test_the_plain_reading_stands_beside_the_best_one() -> None:
    rows = {row.label: row for row in TABLES["m3csr-table2"].rows}
    plain, best = rows["M3CSR, equations alone"], rows["M3CSR"]
    given = MODELS["m3csr"].config(**plain.overrides)
    # Section 5.1.4 of the paper.
    values = ("dimension", "batch_size", "learning_rate", "orthogonality", "regularisation", "temperature", "patience")
    assert [getattr(given, name) for name in values] == [64, 1024, 1e-3, 1e-6, 1e-5, 0.07, 10]
    assert plain.paper == best.paper


def test_the_full_model_of_the_ablations_is_that_of_the_other_tables() -> None:
    (full,) = [row for row in TABLES["m3csr-table2"].rows if row.label == "M3CSR by itself"]
    ablated = {row.label: row for row in TABLES["m3csr-table3"].rows}
    assert ablated["M3CSR"].overrides == full.overrides
    assert {
        row.overrides["interest_intensity"] for row in ablated.values() if "interest_intensity" in row.overrides
    } == {False}
    changed = {
        label: {name for name, value in row.overrides.items() if full.overrides.get(name) != value} - {"variant"}
        for label, row in ablated.items()
    }
    assert changed == {
        "w/o MIIL": {"interest_intensity"},
        "w/o L_perp": {"orthogonality"},
        "w/o Cluster": {"cluster_ids"},
        "w/o Gate": {"popularity_gate"},
        "M3CSR": set(),
    }


def test_improvements_that_the_papers_print_follow_from_their_figures() -> None:
    """The last line of M3CSR's Table 2, and section 4.4 of IRIS."""
    m3csr = {row.label: row.paper for row in TABLES["m3csr-table2"].rows}
    gains = [m3csr["M3CSR"][column] / m3csr["MMSSL"][column] - 1 for column in ("R@20", "P@20", "N@20")]
    assert [round(100 * gain, 2) for gain in gains] == [12.98, 11.11, 7.71]
