"""How a command speaks: results on standard output, everything else on standard error."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["Advance", "emit", "note", "progress"]

Advance = Callable[..., None]
"""``advance(n=1, note="")``: n more units are done; the note says how it goes."""

_PLAIN_INTERVAL_S = 5.0


def emit(document: Mapping[str, Any], *, as_json: bool, text: str = "") -> None:
    """Print a command's result: one JSON document for scripts, the text for people."""
    sys.stdout.write((json.dumps(document, indent=2, default=str) if as_json else text.rstrip()) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Say something that is not the result."""
    sys.stderr.write(text.rstrip() + "\n")
    sys.stderr.flush()


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show progress: a bar on a terminal; otherwise a plain line at the start, every few seconds and at the end.

    Args:
        description: What is being done.
        total: Number of units, or None where it is not known.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(description, total=total, note="")
            yield lambda n=1, note="": bar.update(task, advance=n, note=note)
        return

    of = f"/{total}" if total is not None else ""
    done, spoken = 0, time.monotonic()

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, spoken
        done += n
        if done == total or time.monotonic() - spoken >= _PLAIN_INTERVAL_S:
            spoken = time.monotonic()
            say(note)

    def say(remark: str = "") -> None:
        sys.stderr.write(f"  {description} {done}{of}  {remark}".rstrip() + "\n")
        sys.stderr.flush()

    say()
    yield advance
