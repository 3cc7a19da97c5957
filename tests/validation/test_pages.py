"""Data docs: offline, without script, every value escaped, and everything a reader needs to act."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import great_expectations as gx
import numpy as np
import pandas as pd
import pytest
from great_expectations import expectations as gxe
from great_expectations.core import ExpectationSuiteValidationResult

from contracts.embeddings import EmbeddingSpec
from contracts.reports import Finding, Override, Quarantine, SuiteVerdict, ValidationReport
from contracts.snapshot import Snapshot, SplitInstants
from validation.comparison import Comparison
from validation.judge import Judged, Judgement
from validation.pages import write_pages
from validation.statistics.drift import Drift
from validation.statistics.paired import Paired
from validation.trends import trends

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
BAD = "<script>alert('1')</script><img src=x onerror=alert(1)>"
SPEC = EmbeddingSpec(
    modality="visual",
    width=8,
    encoder=BAD,
    revision="7",
    preprocessing="frames",
    dtype="float32",
    normalisation="none",
)


class _Seen(HTMLParser):
    """What a browser would follow, run or load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        self.attributes |= {name for name, _ in attrs}


def _judged_by_library(asset: str, frame: pd.DataFrame, expected: list[Any]) -> ExpectationSuiteValidationResult:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("snapshot")
    batch = (
        source.add_dataframe_asset(asset).add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    )
    keys = [name for name in frame.columns if name.endswith("_id")]
    return batch.validate(
        gx.ExpectationSuite(name="suite", expectations=expected),
        result_format={"result_format": "SUMMARY", "unexpected_index_column_names": keys},
    )


def _finding(rule: str, severity: float) -> Finding:
    return Finding(
        expectation="expect_it",
        column="video_id",
        observed=f"2 of 4 {BAD}",
        rule=rule,
        examples=[BAD, "v2"],
        severity=severity,
        advice=f"Encode {BAD} again.",
    )


def _judgement(verdict: SuiteVerdict, *results: ExpectationSuiteValidationResult) -> Judgement:
    severity = max((finding.severity for finding in verdict.findings), default=0.0)
    return Judgement(verdict, results, severity=severity, offenders=np.zeros(0, np.int64), whole=False)


@pytest.fixture(scope="module")
def results() -> tuple[ExpectationSuiteValidationResult, ...]:
    rows = _judged_by_library(
        "visual/embedding_visual/rows",
        pd.DataFrame({"good": [1, 1, 1, 1], "video_id": [BAD, "v2", "v3", BAD], "zero": [True, False, False, True]}),
        [
            gxe.ExpectColumnValuesToBeBetween(column="good", max_value=3, description="nothing is above 3"),
            gxe.ExpectColumnValuesToBeUnique(column="video_id", description=f"one vector each, {BAD} or not"),
            gxe.ExpectColumnValuesToBeInSet(column="video_id", value_set=[BAD]),
        ],
    )
    batch = _judged_by_library(
        "visual/embedding_visual/batch",
        pd.DataFrame({"effective_rank": [1.5]}),
        [
            gxe.ExpectColumnValuesToBeBetween(
                column="effective_rank", min_value=2, description="2 directions at least"
            ),
            gxe.ExpectColumnMaxToBeBetween(column="effective_rank", max_value=4, description="4 directions at most"),
        ],
    )
    users = _judged_by_library(
        "users/users/rows",
        pd.DataFrame({"user_id": ["u1"]}),
        [gxe.ExpectColumnValuesToBeUnique(column="user_id", description="each is there once")],
    )
    return rows, batch, users


@pytest.fixture
def judged(results: tuple[ExpectationSuiteValidationResult, ...]) -> Judged:
    visual = SuiteVerdict(
        suite="visual",
        table="embedding_visual",
        success=False,
        evaluated=4,
        version=3,
        findings=[_finding("one vector each", 0.5), _finding("2 directions at least", 1.0)],
    )
    users = SuiteVerdict(suite="users", table="users", success=True, evaluated=1, findings=[])
    paired = Paired(
        common=100,
        lost=1,
        new=3,
        changed_share=0.07,
        noise_share=0.0,
        moved_share=0.02,
        neighbour_overlap=float("nan"),
        shift=0.0,
        sampled=100,
        changed=[(BAD, 12.3)],
        moved=[(BAD, "v2")],
    )
    drift = Drift(p_values={"mean": 0.5}, effects={"mean": 0.0}, reference=100, new=20, share=0.2, items=[(BAD, 3.2)])
    return Judged(
        judgements=[_judgement(visual, *results[:2]), _judgement(users, results[2])],
        profiles={},
        statistics={"embedding_visual": {"effective_rank": 1.5, "zero_share": 0.5}},
        comparisons={"embedding_visual": Comparison(paired=paired, drift=drift)},
    )


def _snapshot() -> Snapshot:
    split = SplitInstants(train_until=NOON, validation_until=NOON.replace(hour=13), nominal=True)
    return Snapshot(
        id="s1",
        dataset=BAD,
        source=BAD,
        created_at=NOON,
        tables={},
        embeddings={"visual": SPEC},
        split=split,
    )


def _report(judged: Judged, **others: Any) -> ValidationReport:
    facts = {"id": "r1", "snapshot": "s1", "created_at": NOON, "data_docs": "r1/index.html", "dataset": BAD} | others
    return ValidationReport(
        success=False,
        suites=[judgement.verdict for judgement in judged.judgements],
        statistics=judged.statistics,
        **facts,
    )


def _write(home: Path, judged: Judged, history: Sequence[dict[str, float]] = (), **others: Any) -> dict[str, str]:
    """File name → page, all with a sister page of past runs as in a home."""
    directory = home / "r1"
    directory.mkdir()
    (home / "index.html").touch()
    for name in others.get("pictures", {}).values():
        (directory / name).touch()
    report = _report(judged, **others)
    write_pages(directory, _snapshot(), report, judged, {"embedding_visual": history}, {"visual": f"probed {BAD}"})
    return {path.name: path.read_text() for path in directory.glob("*.html")}


_EVERYTHING: dict[str, Any] = {
    "baseline": "s0",
    "learned_from": 7,
    "pictures": {"embedding_visual": "embedding_visual-1.png"},
    "quarantine": [Quarantine(table=BAD, whole=False, rows=2, file="q.parquet", reason=BAD, remedy="replace")],
    "parent": "r0",
    "override": Override(actor=BAD, at=NOON, reason=BAD),
    "impact": {"surface": BAD, "champion": "3", "model": BAD, "users": 7, "notes": [BAD]},
}


def test_no_page_runs_loads_or_follows_anything_from_elsewhere(tmp_path: Path, judged: Judged) -> None:
    pages = _write(tmp_path, judged, [{"effective_rank": 7.0}, {"effective_rank": 8.0}], **_EVERYTHING)
    assert set(pages) == {"index.html", "visual-embedding_visual.html", "users-users.html"}
    for name, text in pages.items():
        seen = _Seen()
        seen.feed(text)
        assert not set(seen.tags) & {"script", "link", "iframe", "object", "form"}, name
        assert not [one for one in seen.attributes if one.startswith("on")], name
        assert not re.search(r"https?:", text), name
        assert "default-src 'none'" in text
        for link in seen.links:
            assert (tmp_path / "r1" / unquote(link)).is_file(), f"{name}: {link}"


def test_whatever_the_data_say_stays_text(tmp_path: Path, judged: Judged) -> None:
    pages = _write(tmp_path, judged, **_EVERYTHING)
    for name, text in pages.items():
        assert "<script" not in text, name
        assert "<img src=x" not in text, name
    seen = _Seen()
    seen.feed(pages["visual-embedding_visual.html"])
    assert seen.tags.count("img") == 1
    rendered = pages["visual-embedding_visual.html"].split("Every expectation")[1]
    assert rendered.count("&lt;script&gt;alert(") >= 3, "in a rule, a parameter and an unexpected value"
    assert "&amp;lt;" not in rendered, "escaped once"


def test_the_index_says_what_to_look_at_first_and_what_to_do(tmp_path: Path, judged: Judged) -> None:
    index = _write(tmp_path, judged)["index.html"]
    first, second = index.index("2 directions at least"), index.index("one vector each")
    assert first < second, "the gravest comes first"
    assert "absolute rules only" in index
    assert "Encode &lt;script&gt;" in index
    assert "2 of 4</td>" in index.replace("\n", "")
    assert '<td class="number">3</td>' in index, "the suite's version"
    for absent in ("Quarantine", "accepted all the same", "mended", "lists would lose", "Pictures"):
        assert absent not in index


def test_the_index_tells_baseline_quarantine_override_parent_impact_and_pictures(
    tmp_path: Path, judged: Judged
) -> None:
    (tmp_path / "r0").mkdir()
    (tmp_path / "r0" / "index.html").touch()
    index = _write(tmp_path, judged, **_EVERYTHING)["index.html"]
    assert "compared with accepted snapshot s0; bands learned from 7 accepted snapshots" in index
    assert "can take their place with --quarantine; rows in q.parquet" in index
    assert "accepted all the same" in index
    assert '<a href="../r0/index.html">' in index
    assert "7 users' lists compared" in index.replace("&#39;", "'")
    assert 'src="embedding_visual-1.png"' in index


def test_a_table_has_both_assets_what_was_measured_and_its_items_by_name(tmp_path: Path, judged: Judged) -> None:
    page = _write(tmp_path, judged, [{"zero_share": 0.1}, {"zero_share": 0.2}], **_EVERYTHING)[
        "visual-embedding_visual.html"
    ]
    assert "Row by row" in page
    assert "The table as a whole" in page
    rendered = re.sub(r"\s+", "", page.split("Every expectation")[1])
    assert rendered.index(">video_id<") < rendered.index(">good<"), "what is broken comes first"
    assert "50.00%" in page
    assert "20.00%" in page
    assert page.count("<polyline") == 1
    assert "7.00% of the common ones changed, 2.00% now carry another" in page
    assert "nan" not in page
    assert "20 new items were compared with 100 accepted ones" in page
    assert "revision 7" in page
    assert "Probe: probed" in page


def test_the_library_renders_every_result_without_a_complaint(
    tmp_path: Path, judged: Judged, caplog: pytest.LogCaptureFixture
) -> None:
    page = _write(tmp_path, judged)["visual-embedding_visual.html"]
    assert caplog.records == []
    assert "4 directions at most" in page
    assert ">1.5<" in re.sub(r"\s+", "", page)


def test_tables_of_like_names_have_pages_of_their_own(tmp_path: Path, judged: Judged) -> None:
    first = judged.judgements[0]
    tables = ["embedding_visual-2", "embedding_visual@2"]
    told = [replace(first, verdict=first.verdict.model_copy(update={"table": table})) for table in tables]
    pages = _write(tmp_path, replace(judged, judgements=told))
    assert len(pages) == 3
    linked = set(re.findall(r'href="(visual-[^"#]*)', pages["index.html"]))
    assert linked == set(pages) - {"index.html"}


def test_what_was_not_judged_is_said_once_for_all_tables(tmp_path: Path, judged: Judged) -> None:
    told = [
        replace(one, verdict=one.verdict.model_copy(update={"notes": [f"too few {BAD}"]})) for one in judged.judgements
    ]
    pages = _write(tmp_path, replace(judged, judgements=told))
    assert pages["index.html"].count("too few") == 1
    assert "embedding_visual, users: too few &lt;script" in pages["index.html"]
    assert "too few &lt;script" in pages["users-users.html"]


def test_trends_say_nothing_that_was_not_measured() -> None:
    lines = {trend.name: trend for trend in trends({"rows": 5.0, "odd_one": 2.5}, [{"rows": 4.0, "zero_share": 0.5}])}
    assert list(lines) == ["rows", "vectors that are all zero", "odd one"]
    assert (lines["rows"].before, lines["rows"].now) == ("4", "5")
    assert lines["rows"].end is not None
    assert lines["vectors that are all zero"].now == "not measured"
    assert lines["vectors that are all zero"].line == ""
    assert lines["odd one"].before == ""
    kinds = trends({"share_like": 0.25, "distinct_user": 7.0, "margin_acoustic": 0.5}, ())
    assert [(trend.name.split(" ")[-1], trend.now) for trend in kinds[::2]] == [("user", "7"), ("like", "25.00%")]
    flat = trends({"rows": 1000.0}, [{"rows": 1000.0}, {"rows": 1001.0}])[0]
    heights = [float(point.split(",")[1]) for point in flat.line.split()]
    assert max(heights) - min(heights) < 3, "a thousandth is no mountain"
    assert all(0 <= height <= 26 for height in heights)
