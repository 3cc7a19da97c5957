"""What is tried first and what stands in: few rows of a table, its accepted vectors, or nothing."""

import numpy as np
import pytest

from contracts.errors import ValidationFailed
from contracts.home import Home
from contracts.reports import Finding, SuiteVerdict
from contracts.settings import Settings
from feature_repo.offline import current_snapshot, read_table
from validation.judge import Judged, Judgement
from validation.quarantine import set_aside
from validation.run import validate_snapshot
from validation.texts import report_text


def _many(few_users, videos: int = 400):
    """So many videos that a few of their vectors are less than one in a hundred."""
    return type(few_users)(users=130, videos=videos, width=16)


@pytest.mark.parametrize("first", [True, False])
def test_few_rows_are_left_out_though_they_break_the_statistics_of_the_whole_table(
    settings: Settings, home: Home, few_users, first: bool, judged_broken
) -> None:
    data = _many(few_users)
    if not first:
        data.ingest(home)
        assert validate_snapshot(settings, home).success
    matrix = data.matrix()
    matrix[[3, 50, 90]] = 65504
    data.put_matrix(matrix)
    data.ingest(home)
    failed = judged_broken(settings, home)
    (part,) = failed.quarantine
    assert (part.table, part.whole, part.rows, part.remedy) == ("embedding_visual", False, 3, "drop")
    assert part.otherwise == ("none" if first else "replace")
    told = "whether that is enough is judged then" if first else "the accepted vectors take their place"
    assert f"3 rows ({part.reason}); can be left out with --quarantine; " in report_text(failed)
    assert told in report_text(failed)
    assert len({finding.rule for verdict in failed.suites for finding in verdict.findings}) > 1
    mended = validate_snapshot(settings, home, quarantine=True)
    assert (mended.success, mended.replaced) == (True, [])
    ids = read_table(home, current_snapshot(home), "embedding_visual")["video_id"].to_pylist()
    assert len(ids) == 397
    assert not {"v3", "v50", "v90"} & set(ids)
    assert "Before: embedding_visual: 3 rows were left out" in report_text(mended)


def test_a_table_that_does_not_hold_without_its_offending_rows_is_replaced(
    settings: Settings, home: Home, few_users, judged_broken
) -> None:
    data = _many(few_users)
    data.ingest(home)
    validate_snapshot(settings, home)
    former = data.tables["embedding_visual"]
    matrix = np.roll(data.matrix(), 1, axis=0)
    matrix[3] = np.nan
    data.put_matrix(matrix)
    data.ingest(home)
    (part,) = judged_broken(settings, home).quarantine
    assert (part.rows, part.remedy, part.otherwise) == (1, "drop", "replace")
    mended = validate_snapshot(settings, home, quarantine=True)
    assert mended.replaced == ["embedding_visual"]
    assert read_table(home, current_snapshot(home), "embedding_visual").equals(former)
    assert "embedding_visual: the accepted vectors stand in: 0 items have none for now" in report_text(mended)


def test_accepted_vectors_stand_in_for_a_delivery_with_new_items(
    settings: Settings, home: Home, few_users, judged_broken
) -> None:
    """What came since has none, which is told, and nothing is learned from it."""
    before = _many(few_users)
    before.ingest(home)
    assert validate_snapshot(settings, home).success
    data = _many(few_users, videos=440)
    for modality in ("visual", "acoustic"):
        matrix = data.matrix(modality)
        matrix[:400] = before.matrix(modality)
        data.put_matrix(matrix, modality)
    matrix = data.matrix()
    matrix[::10] = 0
    data.put_matrix(matrix)
    data.ingest(home)
    failed = judged_broken(settings, home)
    assert [(part.table, part.remedy) for part in failed.quarantine] == [("embedding_visual", "replace")]
    assert "backbeat validate run --quarantine" in failed.ways_on
    mended = validate_snapshot(settings, home, quarantine=True)
    assert (mended.success, mended.parent, mended.replaced) == (True, failed.id, ["embedding_visual"])
    assert len(read_table(home, current_snapshot(home), "embedding_visual")) == 400
    text = report_text(mended)
    assert "Before: embedding_visual: the accepted vectors stand in: 40 items have none for now" in text
    (verdict,) = [verdict for verdict in mended.suites if verdict.table == "embedding_visual"]
    assert "40 items have none for now" in verdict.notes[0]
    assert "coverage" in mended.statistics["embedding_acoustic"]
    assert not {"coverage", "recent_coverage"} & set(mended.statistics["embedding_visual"])
    again = validate_snapshot(settings, home, force=True)
    assert (again.success, again.parent, again.remarks) == (True, failed.id, mended.remarks), "judged as what it is"


def test_a_table_that_is_missing_is_not_said_to_be_mended(settings: Settings, home: Home, data, judged_broken) -> None:
    data.ingest(home)
    validate_snapshot(settings, home)
    del data.tables["embedding_visual"], data.raw.specs["visual"]
    data.ingest(home)
    failed = judged_broken(settings, home)
    assert [(part.table, part.rows, part.remedy) for part in failed.quarantine] == [("embedding_visual", 0, "none")]
    assert "--quarantine" not in failed.ways_on
    with pytest.raises(ValidationFailed, match="nothing can stand in for embedding_visual"):
        validate_snapshot(settings, home, quarantine=True)


def test_clusters_are_mended_with_the_vectors_or_not_at_all(data) -> None:
    def broken(table: str) -> Judgement:
        findings = [Finding(expectation="e", column=None, observed=1, rule="r")]
        verdict = SuiteVerdict(suite="s", table=table, success=False, evaluated=1, findings=findings)
        return Judgement(verdict, (), 1.0, np.zeros(0, np.int64), True)

    def listed(*tables: str) -> dict[str, str]:
        judged = Judged([broken(table) for table in tables], {}, {}, {})
        parts = [aside.quarantine for aside in set_aside(data.snapshot, data.tables, judged, None)]
        return {part.table: part.remedy for part in parts}

    assert listed("clusters", "embedding_visual") == {"embedding_visual": "none"}
    assert listed("clusters") == {"clusters": "none"}
