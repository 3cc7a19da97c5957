"""The data docs: Great Expectations' own rendering in pages that need no network and run no script."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

from contracts.reports import ValidationReport
from contracts.snapshot import Snapshot
from validation.judge import Judgement

__all__ = ["INDEX", "write_pages"]

INDEX = "index.html"


def write_pages(directory: Path, snapshot: Snapshot, report: ValidationReport, judgements: Sequence[Judgement]) -> None:
    """Write an index and one page per judged table.

    Args:
        directory: An existing directory.
        snapshot: What was judged.
        report: The report the pages show.
        judgements: Its verdicts with their results.
    """
    # The library's own page takes its styles and scripts from content networks; ours carries its style sheet.
    view = DefaultJinjaPageView(custom_views_directory=str(Path(__file__).parent / "templates"))
    renderer = ValidationResultsPageRenderer()
    rows = []
    for judgement in judgements:
        verdict = judgement.verdict
        page = f"{verdict.suite}-{verdict.table}.html"
        content = renderer.render(_with_escaped_values(judgement.result))
        text = view.render(content, "offline_page.j2", verdict=verdict, report=report, home=INDEX)
        (directory / page).write_text(text, encoding="utf-8")
        rows.append((verdict, page))
    text = view.env.get_template("offline_index.j2").render(snapshot=snapshot, report=report, rows=rows)
    (directory / INDEX).write_text(text, encoding="utf-8")


def _with_escaped_values(result: ExpectationSuiteValidationResult) -> ExpectationSuiteValidationResult:
    # The renderer puts offending values into the page as they are, so an id could carry markup.
    for one in result.results:
        one.result = _escaped(one.result)
    return result


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value
