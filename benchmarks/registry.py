"""The registry's pages: tables of ten thousand versions beside MLflow's own search, and fifty people browsing.

Run: ``python benchmarks/registry.py [--json] [--versions 10000] [--people 50] [--seconds 60] [--only table|load]``.

Server time is that of the catalogue's answer to one page of a table, its look for news in MLflow included; the median
of five. The rival in the same run is MLflow's ``search_model_versions``: of one page where it can sort or filter
so, and of all versions where it cannot (by a metric, by free text), as whoever sorts by them has to read all.
The load is a real ``backbeat ui`` and browsers with sessions of their own that think one to three seconds between
pages; server and browsers share the machine.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before this file, which has the name of a room

from _measure import Result, median_of, report
from _registry_load import browse, serving
from _registry_shelf import stock
from mlflow.tracking import MlflowClient

from contracts.addresses import mlflow_tracking_url
from contracts.database import Database
from contracts.home import Home
from contracts.settings import Settings
from contracts.surfaces import VIDEO_FEED, Tag
from registry.catalogue.catalogue import Catalogue
from registry.catalogue.query import VersionQuery

MOST_MS, MOST_P95_MS = 100.0, 300.0
PAGE = 50
TIMES = 5


def milliseconds(work: Callable[[], object]) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def table_results(settings: Settings, home: Home) -> Iterator[Result]:
    """Tables, beside MLflow."""
    database = Database(settings, home)
    catalogue = Catalogue(settings, home, database)
    url = mlflow_tracking_url(settings, home)
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    named = f"name='{VIDEO_FEED}'"

    def one_page(order: str, more: str = "") -> object:
        return client.search_model_versions(named + more, order_by=[order], max_results=PAGE)

    def all_pages() -> None:
        page = client.search_model_versions(named, max_results=1000)
        while page.token:
            page = client.search_model_versions(named, max_results=1000, page_token=page.token)

    first = milliseconds(lambda: catalogue.page(VIDEO_FEED, VersionQuery()))
    everything = milliseconds(all_pages)
    rows = catalogue.page(VIDEO_FEED, VersionQuery()).total
    yield Result(
        f"first copy of {rows:,} versions",
        first / 1000,
        "s",
        "search_model_versions, all",
        everything / 1000,
        "-",
        True,
    )
    by_age = milliseconds(lambda: one_page("creation_timestamp DESC"))
    by_tag = milliseconds(lambda: one_page("creation_timestamp DESC", f" and tag.`{Tag.MODEL}` = 'mf'"))
    asked: dict[str, tuple[dict[str, object], str, float]] = {
        "sort by age": ({"sort": "-created"}, "search_model_versions, a page", by_age),
        "sort by primary metric": ({"sort": "-primary"}, "search_model_versions, all", everything),
        "sort by any metric": ({"sort": "-test_cold_items_ndcg_at_10"}, "search_model_versions, all", everything),
        "filter by model": ({"model": "mf"}, "search_model_versions, a page by tag", by_tag),
        "filter by range of a metric": (
            {"metric": "test_ndcg_at_10", "least": 0.2, "sort": "-test_ndcg_at_10"},
            "search_model_versions, all",
            everything,
        ),
        "free-text search": ({"q": "option_7=0.12 tuned"}, "search_model_versions, all", everything),
        "search, filter and sort at once": (
            {"q": "no-bias", "author": "ada", "stage": "registered", "sort": "-validation_ndcg_at_20"},
            "search_model_versions, all",
            everything,
        ),
        "last page": ({"sort": "primary", "page": rows // PAGE}, "search_model_versions, all", everything),
    }
    for name, (query, rival, theirs) in asked.items():
        wanted = VersionQuery.model_validate(query)
        if not catalogue.page(VIDEO_FEED, wanted).versions:
            raise RuntimeError(f"{name}: nothing found")
        ours = median_of(TIMES, lambda wanted=wanted: milliseconds(lambda: catalogue.page(VIDEO_FEED, wanted)))
        yield Result(name, ours, "ms", rival, theirs, f"under {MOST_MS:g} ms", ours < MOST_MS)
    choices = median_of(TIMES, lambda: milliseconds(lambda: Catalogue(settings, home, database).choices(VIDEO_FEED)))
    yield Result("values to filter by", choices, "ms", "search_model_versions, all", everything, "-", True)
    champion = MlflowClient.set_registered_model_alias
    champion(client, VIDEO_FEED, "challenger", "17")
    began = time.perf_counter()
    while "challenger" not in catalogue.holders()[VIDEO_FEED]:
        time.sleep(0.02)
    seen = time.perf_counter() - began
    yield Result("until an alias moved in MLflow is seen", seen, "s", "none", None, "under 3 s", seen < 3)
    client.set_model_version_tag(VIDEO_FEED, "17", Tag.VARIANT, "renamed")
    began = time.perf_counter()
    while catalogue.get(VIDEO_FEED, "17").variant != "renamed":
        time.sleep(0.02)
    seen = time.perf_counter() - began
    yield Result("until a tag changed in MLflow is seen", seen, "s", "none", None, "under 15 s", seen < 15)
    database.close()


def load_results(settings: Settings, home: Home, people: int, seconds: float) -> Iterator[Result]:
    """People browsing."""
    database = Database(settings, home)
    rows = Catalogue(settings, home, database).page(VIDEO_FEED, VersionQuery(size=500)).versions
    database.close()
    numbers = [version.version for version in rows]
    with serving(settings, home) as (url, port):
        load = browse(settings, home, url, port, people, seconds, numbers)
    who = f"{people} people for {seconds:g} s"
    p95, median = load.percentile(0.95) * 1000, load.percentile(0.5) * 1000
    cores = f"{os.cpu_count()} cores"
    for fault in load.faults[:5]:
        sys.stderr.write(f"{fault}\n")
    yield Result(f"{who}: pages", len(load.seconds), "pages", cores, None, "-", True)
    yield Result(f"{who}: errors", len(load.faults), "errors", cores, None, "none", not load.faults)
    yield Result(f"{who}: median", median, "ms", cores, None, "-", True)
    yield Result(f"{who}: p95", p95, "ms", cores, None, f"under {MOST_P95_MS:g} ms", p95 < MOST_P95_MS)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", choices=("table", "load"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        settings, home = stock(Path(scratch) / "home", asked.versions)
        results = []
        if asked.only != "load":
            results += table_results(settings, home)
        if asked.only != "table":
            results += load_results(settings, home, asked.people, asked.seconds)
    report(results)


if __name__ == "__main__":
    main()
