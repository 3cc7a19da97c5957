"""Every rule lets sound data pass and is the one that names its own defect."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from great_expectations import expectations as gxe

from contracts.clock import utc_now
from contracts.reports import Finding
from validation.judge import judge
from validation.suites import SUITES
from validation.suites.suite import Material, Suite


def _findings(data) -> dict[tuple[str, str], list[Finding]]:
    judged = judge(Material(data.snapshot, data.tables, utc_now()))
    verdicts = [judgement.verdict for judgement in judged]
    return {(v.suite, v.table): v.findings for v in verdicts if not v.success}


def test_sound_data_passes_every_suite(data) -> None:
    verdicts = [j.verdict for j in judge(Material(data.snapshot, data.tables, utc_now()))]
    assert {(v.suite, v.table, v.evaluated) for v in verdicts} == {
        ("interactions", "interactions", 8),
        ("users", "users", 3),
        ("videos", "videos", 5),
        ("splits", "interactions", 3),
        ("embeddings", "embedding_acoustic", 10),
        ("embeddings", "embedding_visual", 10),
    }
    assert all(v.success and v.findings == [] for v in verdicts)


def test_every_suite_says_what_each_expectation_means(data) -> None:
    for suite in SUITES.values():
        for table in suite.tables(data.snapshot):
            for expectation in suite.expectations(Material(data.snapshot, data.tables, utc_now()), table):
                assert expectation.description


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


def _tiny(matrix: np.ndarray) -> None:
    matrix[4] *= 1e-6


@pytest.mark.parametrize(
    ("defect", "column", "observed", "examples"),
    [
        (_nan, "nonfinite", "1 of 60 rows (1.7%) break it", ["v7"]),
        (_zeros, "zero", "2 of 60 rows (3.3%) break it", ["v0", "v1"]),
        (_constants, "constant", "1 of 60 rows (1.7%) break it", ["v5"]),
        (_collapsed, "repeated", "50 of 60 rows (83.3%) break it", ["v10", "v11", "v12", "v13", "v14"]),
        (_huge, "relative_norm", "1 of 60 rows (1.7%) break it", ["v4"]),
        (_tiny, "relative_norm", "1 of 60 rows (1.7%) break it", ["v4"]),
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
    assert list(findings) == [("embeddings", "embedding_visual")]
    (finding,) = findings["embeddings", "embedding_visual"]
    assert (finding.column, finding.observed, finding.examples) == (column, observed, examples)


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
    assert findings["embeddings", "embedding_visual"][0].rule == "there is at least one of the videos"
    assert findings["embeddings", "embedding_visual"][0].observed == "0"
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
    known = SUITES["splits"]
    broken = Suite(
        tables=known.tables,
        summarise=known.summarise,
        expectations=lambda *_: [gxe.ExpectColumnValuesToBeBetween(column="no such", min_value=0, description="rule")],
        identity=known.identity,
    )
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
