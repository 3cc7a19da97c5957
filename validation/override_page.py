"""A report's own page after somebody has accepted the report."""

import re
from pathlib import Path

from contracts.files import write_text_whole
from contracts.reports import ValidationReport

__all__ = ["show_override"]

_VERDICT = re.compile(r"(?<=<!-- verdict -->).*?(?=<!-- /verdict -->)", re.DOTALL)
"""What :file:`offline_index.j2` puts around the verdict; what comes from data is escaped and has no such marks."""


def show_override(report: ValidationReport) -> bool:
    """Say in a report's page, in one step, who has accepted it, when and why.

    Args:
        report: With its override.

    Returns:
        Whether the page is there; false where somebody has removed it.

    Raises:
        StorageFull: The disk ran out of space.
    """
    from jinja2 import Environment, FileSystemLoader

    page = Path(report.data_docs)
    if not page.is_file():
        return False
    env = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
    verdict = env.get_template("offline_verdict.j2").render(report=report)
    text, places = _VERDICT.subn(lambda _: verdict, page.read_text(encoding="utf-8"), count=1)
    if places:
        write_text_whole(page, text)
    return bool(places)
