"""The data docs: Great Expectations' own rendering in pages that need no network and run no script."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

from contracts.reports import SuiteVerdict, ValidationReport
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX
from validation.comparison import Comparison
from validation.naming import file_name
from validation.texts import compared_with, impact_lines, left_out, quarantine_sentence, worst_findings
from validation.trends import trends

if TYPE_CHECKING:
    from validation.judge import Judged

__all__ = ["INDEX", "write_pages"]

INDEX = "index.html"
_ASSETS = {"rows": "Row by row", "batch": "The table as a whole"}
"""Last part of an asset's name → heading."""
_ATTRIBUTES = frozenset({"styling", "table_options", "header_row_options", "content_block_type", "section_name", "tag"})
"""What the renderer itself writes and no value of the data reaches."""


def write_pages(
    directory: Path,
    snapshot: Snapshot,
    report: ValidationReport,
    judged: "Judged",
    history: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
    probed: Mapping[str, str] | None = None,
) -> None:
    """Write an index and one page per judged table; the report's pictures are shown where its files say.

    Args:
        directory: An existing directory.
        snapshot: What was judged.
        report: The report the pages show.
        judged: Its verdicts with their results.
        history: Table → statistics of accepted snapshots, oldest first, for the trends.
        probed: Name of embeddings → how items came out that were encoded again, in a sentence.
    """
    # The library's own page takes its styles and scripts from content networks; ours carries its style sheet.
    env = DefaultJinjaPageView(custom_views_directory=str(Path(__file__).parent / "templates")).env
    env.autoescape = lambda name: name is not None and name.startswith("offline_")
    words = {"report": report, "snapshot": snapshot, "compared_with": compared_with(report)}
    links = [(judgement.verdict, _page_name(judgement.verdict)) for judgement in judged.judgements]
    page = env.get_template("offline_page.j2")
    parent = report.parent is not None and (directory.parent / report.parent / INDEX).is_file()
    for judgement, (verdict, name) in zip(judged.judgements, links, strict=True):
        statistics = report.statistics.get(verdict.table, {})
        embeddings = verdict.table.removeprefix(EMBEDDING_PREFIX)
        text = page.render(
            **words,
            verdict=verdict,
            home=INDEX,
            spec=snapshot.embeddings.get(embeddings),
            probed=(probed or {}).get(embeddings),
            picture=report.pictures.get(verdict.table),
            trends=trends(statistics, (history or {}).get(verdict.table, ())) if statistics else [],
            **_facts(judged.comparisons.get(verdict.table)),
            sections=[part for result in judgement.results for part in _sections(result)],
        )
        (directory / name).write_text(text, encoding="utf-8")
    text = env.get_template("offline_index.j2").render(
        **words,
        parent=parent,
        links=links,
        worst=[(verdict, finding, _page_name(verdict)) for verdict, finding in worst_findings(report, 3)],
        quarantine=quarantine_sentence(report),
        left_out=left_out(report),
        impact=impact_lines(report.impact) if report.impact is not None else [],
    )
    (directory / INDEX).write_text(text, encoding="utf-8")


def _page_name(verdict: SuiteVerdict) -> str:
    return file_name(f"{verdict.suite}-{verdict.table}", ".html")


def _sections(result: ExpectationSuiteValidationResult) -> list[dict[str, Any]]:
    """Great Expectations' rendered sections of one asset, those with a broken rule first."""
    for one in result.results:
        # The library's number formatting does not know NumPy's scalars.
        one.result = _native(one.result)
    content = ValidationResultsPageRenderer().render(result).to_json_dict()
    broken = {one.expectation_config.kwargs.get("column") for one in result.results if not one.success}
    # The first section is an overview whose links lead out of this directory.
    sections = sorted(content["sections"][1:], key=lambda section: section.get("section_name") not in broken)
    heading = _ASSETS.get(str(result.asset_name).rsplit("/", 1)[-1], "")
    return [
        {"heading": heading if place == 0 else "", "section": _escaped(section)}
        for place, section in enumerate(sections)
    ]


def _native(node: Any) -> Any:
    if isinstance(node, np.generic):
        return node.item()
    if isinstance(node, list):
        return [_native(item) for item in node]
    if isinstance(node, dict):
        return {key: _native(item) for key, item in node.items()}
    return node


def _escaped(node: Any) -> Any:
    # The library escapes what it puts in the place of a parameter, and nothing else: an id could carry markup.
    if isinstance(node, str):
        return html.escape(node, quote=False)
    if isinstance(node, list):
        return [_escaped(item) for item in node]
    if isinstance(node, dict):
        return {key: item if key in _ATTRIBUTES | {"params"} else _escaped(item) for key, item in node.items()}
    return node


def _facts(comparison: Comparison | None) -> dict[str, Any]:
    """What the comparison with the accepted snapshot says of items, by name."""
    facts: dict[str, Any] = {}
    if comparison is not None and comparison.paired is not None:
        facts["paired"] = comparison.paired
    if comparison is not None and comparison.drift is not None:
        facts["drift"] = comparison.drift
    return facts
