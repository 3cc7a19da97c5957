"""The page of past runs: whole, escaped, and quick with a thousand of them."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from contracts.home import Home
from contracts.reports import PastReport
from validation.past_runs import write_index

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
BAD = "<script>alert(1)</script>"


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def _row(number: int, **others: object) -> PastReport:
    facts = {"snapshot": "s", "dataset": "tiktok", "success": True, "failed": (), "baseline": None}
    facts |= {"id": f"r{number}", "created_at": NOON - timedelta(hours=number), "overridden_by": None} | others
    return PastReport(**facts)


def _page(home: Home, rows: list[PastReport]) -> tuple[str, _Seen]:
    write_index(home, rows)
    text = (home.quality / "index.html").read_text()
    seen = _Seen()
    seen.feed(text)
    return text, seen


def test_every_run_is_listed_and_those_with_pages_are_linked(home: Home) -> None:
    (home.quality / "r0").mkdir(parents=True)
    rows = [_row(0), _row(1, success=False, failed=("visual/embedding_visual",)), _row(2, success=False)]
    rows[2] = _row(2, success=False, failed=("users/users",), overridden_by="mira")
    text, seen = _page(home, rows)
    assert seen.links == ["r0/index.html"]
    assert seen.tags.count("tr") == 4
    assert "1 passed, 1 failed" in text
    assert "overridden by mira" in text
    assert "visual/embedding_visual" in text
    assert text.index("r0</a>") < text.index(">r1<") < text.index(">r2<")


def test_names_stay_text(home: Home) -> None:
    text, seen = _page(home, [_row(0, dataset=BAD, failed=(BAD,), success=False, overridden_by=BAD)])
    assert "<script" not in text
    assert "script" not in seen.tags
    assert text.count("&lt;script&gt;") == 3


def test_a_thousand_runs_make_a_small_page_without_anything_to_load(home: Home) -> None:
    (home.quality / "r7").mkdir(parents=True)
    text, seen = _page(home, [_row(number) for number in range(1000)])
    assert seen.tags.count("tr") == 1001
    assert len(text) < 400_000
    assert not set(seen.tags) & {"script", "link", "img", "iframe"}
    assert "http:" not in text
    assert "https:" not in text


def test_no_run_yet(home: Home) -> None:
    text, _ = _page(home, [])
    assert "0 reports" in text
