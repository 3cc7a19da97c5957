"""``docs/results.json``, and the page that is made from it."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from contracts.errors import BadInput
from contracts.files import write_text_whole
from training.experiments.pictures import draw_table
from training.experiments.report import markdown_of
from training.experiments.results import TableResult, read_all, write_all

__all__ = ["picture_of", "read_results", "render_page", "write_result"]

_JSON, _PAGE, _PICTURES = "results.json", "results.md", "images/results"

_HEAD = """# Results

Written by `backbeat experiment` from `results.json`. Test metrics of the epoch that was best on validation; ±: sample
standard deviation over the seeds; bold: the best of its column. *Paper*: the value that the paper prints, on its own
data. *Real*: people made the data; *simulated*: `backbeat ingest simulate` did. Times are of trainings, validation
included, on whatever machine ran them, with its pauses and whatever else it did.
"""


def picture_of(name: str) -> str:
    """Address of a table's picture, relative to the page."""
    return f"{_PICTURES}/{name}.png"


def read_results(docs: Path) -> dict[str, TableResult]:
    """The tables that have been run, by name; none where there is no file.

    Raises:
        BadInput: The file is damaged, or of another version.
    """
    path = docs / _JSON
    if not path.exists():
        return {}
    try:
        return read_all(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise BadInput(
            path,
            found="not what `backbeat experiment` writes",
            expected="figures of tables that have been run",
            next_step="bring it back from version control, or remove it; trained rows are found again without it",
        ) from error


def write_result(docs: Path, result: TableResult) -> None:
    """Put a table in the place of its older self: picture, ``results.json``, ``results.md``.

    Raises:
        BadInput: The file that is there is damaged.
        StorageFull: The disk ran out of space.
    """
    results = {**read_results(docs), result.name: result}
    draw_table(docs / picture_of(result.name), result)
    write_text_whole(docs / _JSON, write_all(results.values()))
    write_text_whole(docs / _PAGE, render_page(results))


def render_page(results: Mapping[str, TableResult]) -> str:
    """The page: what there is, and every table."""
    listed = [
        "| table | data | | rows measured | training, min |",
        "|---|---|---|--:|--:|",
    ]
    ordered = [results[name] for name in sorted(results)]
    for result in ordered:
        possible = [row for row in result.rows if row.measured is not None or row.not_run]
        done = sum(bool(row.seeds) for row in possible)
        listed.append(
            f"| [{result.name}](#{result.name}) | {result.data} | {'real' if result.real else 'simulated'} "
            f"| {done} of {len(possible)} | {result.seconds / 60:,.1f} |"
        )
    return "\n".join([_HEAD, *listed, "", *(markdown_of(result, picture_of(result.name)) for result in ordered)])
