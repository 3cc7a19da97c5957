"""What the stored rows give, latency and errors by hand."""

from datetime import timedelta

import numpy as np
import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import NotFound
from contracts.platform import ResponseRow, ShadowReportRow, ShadowRow
from contracts.verdict import LiveVerdict
from contracts.vocabulary import Vocabulary
from serving.comparison import compare, latest_comparison, store_comparison
from serving.shifts import KnownItems


def items(letters: str, step: str = "ranked") -> list[dict[str, object]]:
    return [{"item_id": letter, "score": 1.0, "step": step} for letter in letters]


def served(number: int, letters: str, latency_ms: float = 2.0, version: str = "1", step: str = "ranked") -> ResponseRow:
    at = utc_now() + timedelta(seconds=number)
    return ResponseRow(
        id=f"r{number}",
        at=at,
        surface="video-feed",
        version=version,
        user_id="u",
        items=items(letters, step),
        latency_ms=latency_ms,
    )


def aside(
    number: int, letters: str, latency_ms: float = 1.0, version: str = "2", error: str | None = None
) -> ShadowRow:
    return ShadowRow(
        response_id=f"r{number}",
        version=version,
        at=utc_now(),
        items=items(letters),
        latency_ms=latency_ms,
        error=error,
    )


def test_a_comparison_of_stored_rows(database: Database) -> None:
    with database.session() as session:
        session.add_all([served(1, "abcd", 1.0), aside(1, "abxy", 5.0)])
        session.add_all([served(2, "abcd", 3.0, step="popular"), aside(2, "abcd", 5.0)])
        session.add_all([served(3, "abcd", 2.0), aside(3, "", 5.0, error="RuntimeError: x")])
        session.add_all([served(4, "abcd", version="7"), aside(4, "wxyz")])
        session.add_all([served(5, "abcd"), aside(5, "wxyz", version="8")])
        session.add(served(6, "abcd"))
    found = compare(database, "video-feed", "1", "2", k=4)
    assert (found.requests, found.errors, found.ranked) == (3, 1, 1)
    assert (found.overlap, found.ranked_overlap) == (0.75, 0.5)
    assert found.champion_latency.p50_ms == 2.0
    assert found.champion_latency.p99_ms == pytest.approx(2.98)
    assert found.shadow_latency.p50_ms == 5.0
    assert found.kendall_tau == 1.0
    assert found.score_shift == 0.0
    assert found.rank_biased_overlap is not None
    assert 0.75 < found.rank_biased_overlap < 1
    assert found.shifts is None
    assert (found.verdict.decision, found.verdict.reason, found.verdict.requests) == ("hold", "not_measured", 3)


def test_only_the_latest_requests_count(database: Database) -> None:
    with database.session() as session:
        session.add_all([served(1, "ab"), aside(1, "ab"), served(2, "ab"), aside(2, "xy")])
    assert compare(database, "video-feed", "1", "2", window=1).overlap == 0.0


def test_only_errors_leave_the_overlap_unknown(database: Database) -> None:
    with database.session() as session:
        session.add_all([served(1, "ab"), aside(1, "", error="RuntimeError: x")])
    found = compare(database, "video-feed", "1", "2")
    assert found.overlap is None
    assert found.ranked_overlap is None
    assert found.rank_biased_overlap is None


def test_what_the_two_show_of_the_catalogue(database: Database) -> None:
    with database.session() as session:
        session.add_all([served(1, "ab", step="model"), aside(1, "ac")])
    found = compare(
        database, "video-feed", "1", "2", k=2, known=KnownItems(Vocabulary(["a", "b"]), np.array([4, 2]), 4)
    )
    assert found.ranked == 1
    assert found.shifts == {"coverage": 0.0, "popularity": -1.0, "novelty": 0.5, "new_share": 0.5}


def test_no_common_request_is_an_error_that_helps(database: Database) -> None:
    with pytest.raises(NotFound, match=r"champion 1 and shadow 2.*no request that both were asked.*shadow replay"):
        compare(database, "video-feed", "1", "2")


def test_a_comparison_is_kept(database: Database) -> None:
    assert latest_comparison(database, "video-feed") is None
    with database.session() as session:
        session.add_all([served(1, "ab"), aside(1, "ax")])
    report_id = store_comparison(database, compare(database, "video-feed", "1", "2", k=2))
    with database.session() as session:
        row = session.get_one(ShadowReportRow, report_id)
        assert (row.champion, row.shadow, row.body["overlap@2"]) == ("1", "2", 0.5)
        assert LiveVerdict.model_validate(row.body["verdict"]).sentence.startswith("Hold: ctr not measured")
    latest = latest_comparison(database, "video-feed")
    assert latest is not None
    assert (latest["id"], latest["ranked_overlap@2"]) == (report_id, 0.5)


def test_only_the_champions_own_lists_are_compared(database: Database) -> None:
    with database.session() as session:
        for number, arm in enumerate((None, "champion", "shuffled", "interleaved", "challenger")):
            row = served(number, "abcd")
            row.arm = arm
            session.add_all([row, aside(number, "abcd")])
    assert compare(database, "video-feed", "1", "2").requests == 2
