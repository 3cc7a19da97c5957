"""The page that lists all past validation runs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from contracts.files import write_text_whole
from contracts.home import Home
from contracts.reports import PastReport

__all__ = ["write_index"]


def write_index(home: Home, rows: Sequence[PastReport]) -> None:
    """Replace ``index.html`` in the home's quality directory, in one step.

    Args:
        home: Whose runs.
        rows: All of them, newest first. A run whose pages are gone is listed without a link.
    """
    # Neither Great Expectations nor a report's body is needed for a list: a thousand runs take milliseconds.
    from jinja2 import Environment, FileSystemLoader

    env = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
    there = {path.name for path in home.quality.iterdir() if path.is_dir()} if home.quality.is_dir() else set()
    text = env.get_template("offline_history.j2").render(
        rows=[(row, row.id in there) for row in rows],
        counts={"passed": 0, "failed": 0, "uncompared": 0, "overridden": 0} | Counter(row.verdict for row in rows),
    )
    write_text_whole(home.quality / "index.html", text)
