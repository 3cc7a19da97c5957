"""`backbeat features push`, `… consume` and `… merge`: rows that arrive while the platform runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption

__all__ = ["consume", "merge", "push"]


def push(
    table: Annotated[str, typer.Argument(help="The offline table: interactions, posts, embedding_post_textual …")],
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="Parquet, CSV or JSON lines (.jsonl); - for JSON lines on stdin.")
    ] = "-",
    batch_id: Annotated[
        str | None, typer.Option("--batch-id", help="Name of the batch: pushing it twice takes it in once.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send rows that just happened to the consumer. Example: `backbeat features push interactions events.parquet`"""
    import sys

    from contracts.console import emit
    from contracts.errors import NotFound
    from contracts.opening import open_home
    from feature_repo.stream.push import push_file, push_lines

    settings, place = open_home(home)
    file = Path(source)
    if source == "-":
        batch = push_lines(settings, place, table, sys.stdin.buffer, batch_id)
    elif not file.is_file():
        raise NotFound(file, found="no file", expected="rows to push", next_step="check the path")
    elif file.suffix.lower() in (".jsonl", ".ndjson"):
        with file.open("rb") as lines:
            batch = push_lines(settings, place, table, lines, batch_id, file.name)
    else:
        batch = push_file(settings, place, table, file, batch_id)
    document = {"batch": batch.id, "dataset": batch.dataset, "table": batch.table, "rows": batch.rows.num_rows}
    emit(
        document,
        as_json=as_json,
        text=f"pushed {batch.rows.num_rows:,} rows of {batch.table} ({batch.dataset}) as batch {batch.id}; "
        "`backbeat features consume` takes them in",
    )


def consume(
    once: Annotated[bool, typer.Option("--once", help="Stop as soon as nothing is waiting.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take pushed rows in: online at once, offline once; Ctrl-C ends it. Example: `backbeat features consume --once`"""
    from contextlib import suppress
    from dataclasses import asdict

    from contracts.console import emit, note
    from contracts.errors import ItemsSkipped
    from contracts.opening import open_home
    from feature_repo.stream.consumer import Consumer, Taken

    def tell(taken: Taken) -> None:
        if taken.batches or taken.refused:
            note(f"  {taken.batches:,} batches, {taken.rows:,} rows, {taken.refused:,} refused")
        else:
            note("  waiting for rows; push some with `backbeat features push`")

    settings, place = open_home(home)
    consumer = Consumer(settings, place)
    with suppress(KeyboardInterrupt):
        consumer.run(once=once, told=None if as_json else tell)
    taken = consumer.taken
    repeated = f", {taken.repeated:,} rows again that had been" if taken.repeated else ""
    emit(
        asdict(taken),
        as_json=as_json,
        text=f"took in {taken.batches:,} batches with {taken.rows:,} new rows{repeated}; wrote {taken.online:,} online "
        f"rows, at most {taken.slowest_s:.2f} s after reading",
    )
    if taken.refused:
        raise ItemsSkipped(
            f"rows pushed for {consumer.dataset!r}",
            found=f"{taken.refused:,} that were set aside in {place.stream / 'refused'}",
            expected="rows that can be taken in; the others were",
            next_step="read the reasons beside them (*.json), mend them and push them again under a new batch id",
        )


def merge(
    train_until: Annotated[
        str | None, typer.Option("--train-until", help="Where training is to end now, e.g. 2026-01-31T12:00:00+00:00.")
    ] = None,
    validation_until: Annotated[
        str | None, typer.Option("--validation-until", help="Where validation is to end now.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add what was pushed to the tables, as a new snapshot. Example: `backbeat features merge`"""
    from contracts.clock import parse_instant
    from contracts.console import emit
    from contracts.home import Home
    from contracts.settings import load_settings
    from feature_repo.offline import current_snapshot
    from feature_repo.stream.landing import merge as merge_landed

    settings = load_settings(home=home)
    place = Home.open(settings)
    dataset = current_snapshot(place).dataset
    ends = [
        None if text is None else parse_instant(text, f"option {option}")
        for option, text in (("--train-until", train_until), ("--validation-until", validation_until))
    ]
    with place.writing("backbeat features merge"):
        snapshot, added, created = merge_landed(place, dataset, *ends)
    document: dict[str, Any] = {
        "snapshot": snapshot.id,
        "dataset": dataset,
        "outcome": "created" if created else "unchanged",
        "added": added,
        "split": snapshot.split.model_dump(mode="json"),
    }
    sizes = "\n".join(f"  {name:<28} {count:>10,} rows added" for name, count in added.items())
    emit(
        document,
        as_json=as_json,
        text=f"snapshot {snapshot.id} ({dataset}): {document['outcome']}\n{sizes or '  nothing had landed'}",
    )
