"""Runs each case of :mod:`docs.error_cases` and writes down the message it gets, as ``docs/errors.md``.

``make docs`` writes the page; a test runs the same cases and compares.
"""

import tempfile
from pathlib import Path

from docs.error_cases import CASES
from docs.workshop import Case, Workshop

__all__ = ["HEAD", "PAGE", "render", "run_case"]

PAGE = Path(__file__).with_name("errors.md")

HEAD = """# Bad inputs and what they answer

Written by `make docs`; a test runs every case again and compares. Each error is one paragraph on standard error (one
JSON document with `--json`) that names the object, what was found, what was expected and the next step. The home is
unchanged after each of them, but for the record of an interrupted job or of a run that was killed or failed.
"""


def run_case(case: Case, workshop: Workshop) -> str:
    """Run one case and return its section of the page.

    Raises:
        RuntimeError: The exit code is another, or the home has changed.
    """
    before = workshop.fingerprint()
    typed, outcome = case.run(workshop)
    if outcome.exit_code != case.exit_code:
        raise RuntimeError(f"{case.title}: exit code {outcome.exit_code}, not {case.exit_code}: {outcome.message}")
    if case.keeps_home and workshop.fingerprint() != before:
        raise RuntimeError(f"{case.title}: the home has changed")
    return f"\n## {case.title}\n\n```console\n$ {typed}\n{outcome.message}\n```\n\nExit code {outcome.exit_code}.\n"


def render(workshop: Workshop) -> str:
    """The whole page."""
    return HEAD + "".join(run_case(case, workshop) for case in CASES)


def _main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        PAGE.write_text(render(Workshop(Path(directory).resolve())), encoding="utf-8")


if __name__ == "__main__":
    _main()
