"""Every rule lets sound data pass and is the one that names its own defect."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from great_expectations import expectations as gxe

from contracts.clock import utc_now
from contracts.errors import BadInput
from contracts.home import Home
from contracts.reports import Finding
from validation.judge import judge
from validation.suites import SUITES
from validation.suites.suite import Rule


def _findings(data) -> dict[tuple[str, str], list[Finding]]:
    verdicts = [judgement.verdict for judgement in judge(data.material()).judgements]
    return {(v.suite, v.table): v.findings for v in verdicts if not v.success}


def test_sound_data_passes_every_suite(data) -> None:
    verdicts = [judgement.verdict for judgement in judge(data.material()).judgements]
    assert {(v.suite, v.table, v.evaluated) for v in verdicts} == {
        ("interactions", "interactions", 9),
        ("users", "users", 4),
        ("videos", "videos", 6),
        ("splits", "interactions", 3),
        ("acoustic", "embedding_acoustic", 16),
        ("visual", "embedding_visual", 16),
        ("clusters", "clusters", 5),
    }
    assert all(v.success and v.findings == [] for v in verdicts)


def test_every_suite_has_a_version_and_every_rule_says_what_it_means_and_what_to_do(data) -> None:
    material = data.material()
    for suite in SUITES.values():
        assert suite.version >= 1
        for table in suite.tables(material):
            for rule in suite.on_rows(material, table):
                assert rule.expectation.description
                assert rule.advice.endswith(".")


def _nan(matrix: np.ndarray) -> None:
    matrix[7, 3] = np.nan


def _zeros(matrix: np.ndarray) -> None:
    matrix[:2] = 0


def _constants(matrix: np.ndarray) -> None:
    matrix[5] = 1


def _collapsed(matrix: np.ndarray) -> None:
    matrix[10:] = matrix[0]


def _huge(matrix: np.ndarray) -> None:
    matrix[4] *= 1e6


def _vanishing(matrix: np.ndarray) -> None:
    matrix[4] *= 1e-9


def _tiny(matrix: np.ndarray) -> None:
    matrix[4] *= 1e-3


@pytest.mark.parametrize(
    ("defect", "column", "observed", "examples"),
    [
        (_nan, "nonfinite", "1 of 60 rows (1.7%) break it", ["v7"]),
        (_zeros, "zero", "2 of 60 rows (3.3%) break it", ["v0", "v1"]),
        (_constants, "constant", "1 of 60 rows (1.7%) break it", ["v5"]),
        (_collapsed, "repeated", "50 of 60 rows (83.3%) break it", ["v10", "v11", "v12", "v13", "v14"]),
        (_huge, "relative_norm fp16_error", "1 of 60 rows (1.7%) break it", ["v4"]),
        (_tiny, "relative_norm", "1 of 60 rows (1.7%) break it", ["v4"]),
        (_vanishing, "relative_norm fp16_error", "1 of 60 rows (1.7%) break it", ["v4"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_defect_of_the_vectors(
    data, defect: Callable[[np.ndarray], None], column: str, observed: str, examples: list[str]
) -> None:
    matrix = data.matrix()
    defect(matrix)
    data.put_matrix(matrix)
    findings = _findings(data)
    assert list(findings) == [("visual", "embedding_visual")]
    found = findings["visual", "embedding_visual"]
    by_row = [finding for finding in found if finding.examples]  # a huge vector is all of the table's variance too
    assert {(f.column, f.observed, tuple(f.examples)) for f in by_row} == {
        (name, observed, tuple(examples)) for name in column.split()
    }


def test_a_vector_of_another_width(data) -> None:
    vectors = [list(row) for row in data.matrix()]
    vectors[3] = vectors[3][:5]
    data.put("embedding_visual", "vector", vectors)
    ((finding,),) = _findings(data).values()
    assert (finding.column, finding.examples) == ("width", ["v3"])
    assert finding.rule == "every vector has the 8 components of its spec"


def test_a_video_with_two_vectors_and_one_unknown_video(data) -> None:
    ids = data.tables["embedding_visual"]["video_id"].to_pylist()
    ids[1], ids[2] = "v0", "who"
    data.put("embedding_visual", "video_id", ids)
    (findings,) = _findings(data).values()
    assert {f.column: f.examples for f in findings} == {"video_id": ["v0", "v0"], "known": ["who"]}


def test_a_modality_that_most_videos_lack(data) -> None:
    data.tables["embedding_visual"] = data.tables["embedding_visual"].slice(0, 20)
    ((finding,),) = _findings(data).values()
    assert (finding.column, finding.observed) == ("present", "40 of 60 rows (66.7%) break it")
    data.tables["embedding_visual"] = data.tables["embedding_acoustic"].slice(0, 31)
    assert _findings(data) == {}


def test_no_video_at_all(data) -> None:
    for table in ("videos", "embedding_visual", "embedding_acoustic", "interactions"):
        data.tables[table] = data.tables[table].slice(0, 0)
    findings = _findings(data)
    assert findings["visual", "embedding_visual"][0].rule == "there is at least one of the videos"
    assert findings["visual", "embedding_visual"][0].observed == "0"
    assert findings["interactions", "interactions"][0].rule == "there is at least one event"
    assert {f.column for f in findings["splits", "interactions"]} == {"events", "users", "items"}


@pytest.mark.parametrize(
    ("column", "value", "broken"),
    [
        ("weight", float("nan"), "weight"),
        ("weight", 0.0, "weight"),
        ("weight", -1.0, "weight"),
        ("weight", float("inf"), "weight"),
        ("kind", "stare", "kind"),
        ("user_id", "nobody", "user_known"),
        ("video_id", "nothing", "video_known"),
        ("event_time", utc_now() + timedelta(days=1), "age_hours"),
    ],
)
def test_a_defect_of_an_event(data, column: str, value: object, broken: str) -> None:
    values = data.tables["interactions"][column].to_pylist()
    values[-1] = value
    data.put("interactions", column, values)
    findings = _findings(data)
    assert list(findings) == [("interactions", "interactions")]
    ((finding,),) = findings.values()
    assert finding.column == broken
    assert finding.observed == "1 of 360 rows (0.3%) break it"
    user, video = (data.tables["interactions"][name][-1].as_py() for name in ("user_id", "video_id"))
    assert finding.examples == [f"{user} {video}"]


def test_the_same_event_twice(data) -> None:
    events = data.tables["interactions"]
    data.tables["interactions"] = pa.concat_tables([events, events.slice(0, 1)])
    ((finding,),) = _findings(data).values()
    assert finding.column == "repeated"


def test_too_few_users_in_a_part(few_users) -> None:
    findings = _findings(few_users)
    assert list(findings) == [("splits", "interactions")]
    ((finding,),) = findings.values()
    assert (finding.column, finding.examples) == ("users", ["train", "validation", "test"])
    assert finding.rule == "every part has at least 10 users"


def test_findings_come_worst_first(data) -> None:
    matrix = data.matrix()
    matrix[0, 0] = np.nan
    matrix[30:33] = 0
    data.put_matrix(matrix)
    (findings,) = _findings(data).values()
    assert [f.column for f in findings] == ["zero", "nonfinite"]


def test_an_expectation_that_cannot_be_evaluated_fails(data, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Rule(gxe.ExpectColumnValuesToBeBetween(column="no such", min_value=0, description="rule"), "Mend it.")
    broken = replace(SUITES["splits"], on_rows=lambda *_: [rule])
    monkeypatch.setattr("validation.judge.SUITES", {"splits": broken})
    ((finding,),) = _findings(data).values()
    assert finding.observed == "nothing: the expectation could not be evaluated"


def test_a_share_too_small_to_print_is_said_in_words(data) -> None:
    # 360 events, repeated to 3,600 with other times; one of them is bad: 0.03 %.
    events = data.tables["interactions"]
    copies = []
    for copy in range(10):
        times = [moment + timedelta(milliseconds=copy) for moment in events["event_time"].to_pylist()]
        copies.append(events.set_column(4, events.schema.field(4), pa.array(times, events.schema.field(4).type)))
    data.tables["interactions"] = pa.concat_tables(copies)
    kinds = ["view"] * 3599 + ["stare"]
    data.put("interactions", "kind", kinds)
    ((finding,),) = _findings(data).values()
    assert finding.observed == "1 of 3,600 rows (under 0.1%) break it"


NULLS = [
    ("videos", "video_id"),
    ("videos", "event_time"),
    ("embedding_visual", "video_id"),
    ("embedding_visual", "vector"),
    ("embedding_visual", "event_time"),
    ("interactions", "user_id"),
    ("interactions", "event_time"),
]


@pytest.mark.parametrize(("table", "column"), NULLS)
def test_a_null_where_none_may_be_is_a_finding_and_no_traceback(data, table: str, column: str) -> None:
    values = data.tables[table][column].to_pylist()
    values[5] = None
    data.put(table, column, values)
    (found,) = [found for (_, of), found in _findings(data).items() if of == table]
    named = {finding.column: finding for finding in found}
    assert named["complete"].rule.startswith("every row has ")
    assert column in named["complete"].rule
    assert "1 of" in named["complete"].observed


def test_a_null_where_none_may_be_is_not_taken_in(data, home: Home) -> None:
    values = data.tables["videos"]["event_time"].to_pylist()
    values[5] = None
    data.put("videos", "event_time", values)
    with pytest.raises(BadInput, match="nulls in event_time of 1 rows; expected a value of video_id, event_time"):
        data.ingest(home)
