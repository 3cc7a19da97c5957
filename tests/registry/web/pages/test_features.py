import pytest

from contracts.clock import utc_now
from contracts.jobs import find_job, list_jobs, queue_job
from contracts.platform import JobRow, OnlineViewRow
from tests.registry.web.conftest import Web
from tests.registry.web.pages.conftest import HOSTILE, Stock


@pytest.fixture
def with_views(stock: Stock) -> Stock:
    """Two views, one of them online."""
    directory = stock.shelf.home.cache / "features" / "snap-1" / "r2"
    directory.mkdir(parents=True)
    (directory / "user_history.parquet").touch()
    now = utc_now()
    stock.add(
        OnlineViewRow(
            snapshot="snap-1", view="video_trend", definitions="d", watermark=now, rows=9, job_id="j", updated_at=now
        )
    )
    return stock


def test_views_and_where_they_stand(with_views: Stock) -> None:
    found = with_views.browser().get("/api/features").json()
    assert {view["view"]: view["state"] for view in found["views"]} == {
        "user_history": "not online",
        "video_trend": "online",
    }
    page = with_views.browser().get("/features").text
    assert "Start a materialization" not in page
    assert "Start a materialization" in with_views.browser("engineer").get("/features").text


def test_starting_a_materialization(with_views: Stock) -> None:
    engineer = with_views.browser("engineer")
    form = {"views": ["user_history", "video_trend"], "until": "2026-01-31T12:00:00+00:00", "dry_run": "true"}
    answer = engineer.fill("/features/materialize", form)  # type: ignore[arg-type]
    (job,) = list_jobs(with_views.web.database)
    assert answer.headers["location"] == f"/features/jobs/{job.id}"
    assert (job.kind, job.snapshot, job.subjects) == ("rehearse", "snap-1", ["user_history", "video_trend"])
    assert job.parameters["until"] == "2026-01-31T12:00:00+00:00"
    one = engineer.fill("/features/materialize", {"views": "user_history"}).headers["location"].rpartition("/")[2]
    assert find_job(with_views.web.database, one).subjects == ["user_history"]
    every = engineer.fill("/features/materialize").headers["location"].rpartition("/")[2]
    assert find_job(with_views.web.database, every).subjects == ["user_history", "video_trend"]
    assert engineer.fill("/features/materialize", {"views": "nope"}).status_code == 404
    assert engineer.fill("/features/materialize", {"until": "2026-01-31"}).status_code == 400
    assert with_views.browser().fill("/features/materialize").status_code == 403


def test_a_job_is_watched_paused_resumed_and_ended(with_views: Stock) -> None:
    database = with_views.web.database
    job = queue_job(database, "materialize", "snap-1", [HOSTILE])
    engineer = with_views.browser("engineer")
    page = engineer.get(f"/features/jobs/{job}").text
    assert "data-live" in page
    assert "<script>alert" not in page
    assert "Pause" in page
    assert "Pause" not in with_views.browser().get(f"/features/jobs/{job}").text
    for action, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        assert engineer.fill(f"/features/jobs/{job}/{action}").status_code == 303
        assert find_job(database, job).state == state
    assert engineer.fill(f"/features/jobs/{job}/resume").status_code == 409
    page = engineer.get(f"/features/jobs/{job}").text
    assert "data-live" not in page
    assert engineer.get("/api/features").json()["past"][0]["job"]["id"] == job


def test_what_a_dry_run_would_write_and_why_a_job_failed(with_views: Stock) -> None:
    database = with_views.web.database
    job = queue_job(database, "rehearse", "snap-1", ["user_history"])
    error = {"error": {"subject": HOSTILE, "found": "f", "expected": "e", "next": "n"}}
    with database.session() as session:
        row = session.get_one(JobRow, job)
        row.state, row.error, row.detail = "failed", error, {"would": {"user_history": {"rows": 1234, "change": 5}}}
    page = with_views.browser().get(f"/features/jobs/{job}").text
    assert "1,234" in page
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page


def test_jobs_that_are_not_of_features(stock: Stock) -> None:
    job = queue_job(stock.web.database, "errand", "video-feed", [])
    assert stock.browser().get(f"/features/jobs/{job}").status_code == 404
    assert stock.browser().get("/features/jobs/nope").status_code == 404


def test_nothing_was_ingested(web: Web) -> None:
    assert "backbeat ingest" in web.browser("viewer").get("/features").text
    assert web.browser("engineer").fill("/features/materialize").status_code == 404
