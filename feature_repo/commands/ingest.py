"""`backbeat ingest …`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feature_repo.raw_tables import RawTables

__all__ = ["ingest"]

ingest = typer.Typer(help="Take a data set, or a simulated platform, into the offline tables.", no_args_is_help=True)


@ingest.command("mmssl")
def ingest_mmssl(
    path: Annotated[Path, typer.Argument(help="Directory with trnMat.pkl, valMat.pkl, tstMat.pkl and *_feat.npy.")],
    name: Annotated[str | None, typer.Option(help="Name of the data set (default: the directory's).")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ingest a directory in the MMSSL/DiffMM layout. Example: `backbeat ingest mmssl data/tiktok`"""
    from feature_repo.readers.mmssl import read_mmssl

    _ingest(lambda: read_mmssl(path, name), f"backbeat ingest mmssl {path}", home, as_json)


@ingest.command("movielens")
def ingest_movielens(
    path: Annotated[Path, typer.Argument(help="Directory with train_df.csv, cold_*_df.csv, item_df.csv, movies*.dat.")],
    name: Annotated[str | None, typer.Option(help="Name of the data set (default: the directory's).")] = None,
    text: Annotated[bool, typer.Option(help="Encode the plots with Sentence-BERT; takes a minute or two.")] = True,
    facts: Annotated[bool, typer.Option("--facts", help="Also vectors of genres, rating and year.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ingest MovieLens 1M, split by items, with plots as text. Example: `backbeat ingest movielens data/ml-1m`"""
    from contracts.settings import load_settings
    from feature_repo.readers.movielens import PLOTS, read_movielens
    from feature_repo.readers.texts import sentence_encoder

    encode = sentence_encoder(load_settings(home=home).device, PLOTS) if text else None
    _ingest(lambda: read_movielens(path, name, encode, facts), f"backbeat ingest movielens {path}", home, as_json)


@ingest.command("lastfm")
def ingest_lastfm(
    path: Annotated[Path, typer.Argument(help="Directory with user_artists.dat, user_friends.dat and artists.dat.")],
    name: Annotated[str | None, typer.Option(help="Name of the data set (default: the directory's).")] = None,
    train_share: Annotated[float, typer.Option(help="Share of each user's artists to train on.")] = 0.8,
    validation_share: Annotated[float, typer.Option(help="Share of them to validate on.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the random split; equal seeds give equal splits.")] = 0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ingest Last.fm of HetRec 2011: listening counts and friends. Example: `backbeat ingest lastfm data/lastfm-2k`"""
    from feature_repo.readers.lastfm import read_lastfm

    _ingest(
        lambda: read_lastfm(path, name, train=train_share, validation=validation_share, seed=seed),
        f"backbeat ingest lastfm {path}",
        home,
        as_json,
    )


@ingest.command("tables")
def ingest_tables(
    path: Annotated[Path, typer.Argument(help="Directory with users.parquet, interactions.csv and so on.")],
    name: Annotated[str | None, typer.Option(help="Name of the data set (default: the directory's).")] = None,
    train_until: Annotated[str | None, typer.Option(help="End of training: an ISO 8601 instant with zone.")] = None,
    validation_until: Annotated[str | None, typer.Option(help="End of validation: likewise.")] = None,
    train_share: Annotated[float, typer.Option(help="Share of events to train on, the earliest.")] = 0.8,
    validation_share: Annotated[float, typer.Option(help="Share of events to validate on, those after.")] = 0.1,
    check: Annotated[bool, typer.Option("--check", help="Only report what is wrong; write nothing.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ingest a team's own Parquet or CSV files, or say everything that is wrong with them.

    Example: `backbeat ingest tables data/own --check`
    """
    from contracts.console import emit
    from feature_repo.readers.own.problems import TablesRefused
    from feature_repo.readers.own.report import print_problems
    from feature_repo.readers.tables import Shares, parse_split, read_tables

    split = parse_split(train_until, validation_until, Shares(train_share, validation_share))

    def read() -> "RawTables":
        try:
            return read_tables(path, name, split)
        except TablesRefused as refused:
            if not as_json:
                print_problems(refused.problems)
            raise

    if not check:
        _ingest(read, f"backbeat ingest tables {path}", home, as_json)
        return
    raw = read()
    rows = {table: content.num_rows for table, content in raw.tables.items()}
    document = {"dataset": raw.dataset, "problems": [], "tables": rows, "split": raw.split.model_dump(mode="json")}
    sizes = "\n".join(f"  {table:<34} {count:>12,} rows" for table, count in rows.items())
    emit(document, as_json=as_json, text=f"{path}: nothing wrong\n{sizes}")


@ingest.command("simulate")
def ingest_simulate(
    users: Annotated[int | None, typer.Option(help="Number of users (default: 1500).")] = None,
    videos: Annotated[int | None, typer.Option(help="Number of videos (default: 1000).")] = None,
    music: Annotated[int | None, typer.Option(help="Pieces of music (default: a third of the videos).")] = None,
    posts: Annotated[int | None, typer.Option(help="Number of posts (default: 4 per user).")] = None,
    listens: Annotated[int | None, typer.Option(help="Number of listens (default: 6 per user).")] = None,
    events: Annotated[int | None, typer.Option(help="Number of views (default: 20000).")] = None,
    follows: Annotated[
        int | None, typer.Option(help="Users followed, beside from videos (default: 8 per user).")
    ] = None,
    days: Annotated[int | None, typer.Option(help="Length of the period in days (default: 28).")] = None,
    late: Annotated[float, typer.Option(help="Share of rows that are known only after they happened.")] = 0.0,
    least_videos: Annotated[int | None, typer.Option(help="Videos that each user and each music has at least.")] = None,
    least_events: Annotated[int | None, typer.Option(help="Views that each user has at least.")] = None,
    least_listens: Annotated[int | None, typer.Option(help="Listens that each user has at least.")] = None,
    least_posts: Annotated[int | None, typer.Option(help="Posts that each user has at least.")] = None,
    post_text: Annotated[float | None, typer.Option(help="Share of posts with a text (default: 0.91).")] = None,
    post_images: Annotated[float | None, typer.Option(help="Images per post (default: 0.89).")] = None,
    post_video: Annotated[float | None, typer.Option(help="Share of posts with a video (default: 0.165).")] = None,
    preset: Annotated[str | None, typer.Option(help="Sizes of a paper: amae, bgm, m3csr, mmm, iris; or small.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Factor for the preset's sizes (default: 1; amae 0.01, bgm 0.2).")
    ] = None,
    media: Annotated[bool, typer.Option("--media", help="Write clips, sound, images and texts as well.")] = False,
    media_items: Annotated[
        int | None, typer.Option(help="Videos, music and posts that have files, the first of each (default: 100).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal data.")] = 7,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate a simulated short-video platform; numbers that are given go before those of the preset.

    Example: `backbeat ingest simulate --users 5000 --seed 1`
    """
    from contracts.console import progress
    from contracts.errors import BadInput
    from contracts.home import Home
    from contracts.settings import load_settings
    from feature_repo.simulator import generate, media_of, plan_of

    if media_items is not None and not media:
        raise BadInput(
            "option --media-items",
            found=f"{media_items} without --media",
            expected="--media beside it",
            next_step="add --media to write files, or leave --media-items out",
        )
    plan = plan_of(
        preset, scale, users=users, videos=videos, music=music, posts=posts, listens=listens, events=events,
        follows=follows, days=days, late=late, least_videos=least_videos, least_events=least_events,
        least_listens=least_listens, least_posts=least_posts, post_text=post_text, post_images=post_images,
        post_video=post_video, seed=seed,
    )  # fmt: skip
    place = Home.open(load_settings(home=home))
    files = media_of(plan, place.root / "media", 100 if media_items is None else media_items) if media else None
    raw, write_media = generate(plan, files)

    def write_files() -> None:
        if files is not None:
            with progress("writing media of items", files.videos + files.music + files.posts) as advance:
                write_media(advance)

    _ingest(lambda: raw, "backbeat ingest simulate", home, as_json, before=write_files)


def _ingest(
    read: "Callable[[], RawTables | tuple[RawTables, dict[str, Any]]]",
    command: str,
    home: Path | None,
    as_json: bool,
    before: "Callable[[], None] | None" = None,
) -> None:
    from contracts.console import emit
    from contracts.home import Home
    from contracts.settings import load_settings
    from feature_repo.offline import write_snapshot

    place = Home.open(load_settings(home=home))
    found = read()  # before the home is touched, so that bad input leaves it as it was
    raw, facts = found if isinstance(found, tuple) else (found, {})
    with place.writing(command):
        if before is not None:
            before()
        snapshot, created = write_snapshot(place, raw)
    rows = {name: info.rows for name, info in snapshot.tables.items()}
    document: dict[str, Any] = {
        "snapshot": snapshot.id,
        "dataset": snapshot.dataset,
        "source": snapshot.source,
        "outcome": "created" if created else "unchanged",
        "tables": rows,
        "split": snapshot.split.model_dump(mode="json"),
        **({"facts": facts} if facts else {}),
    }
    sizes = "\n".join(f"  {name:<34} {count:>12,} rows" for name, count in rows.items())
    said = "\n".join(f"  {name:<34} {value}" for name, value in _flat(facts))
    heading = f"snapshot {snapshot.id} ({snapshot.dataset}): {document['outcome']}"
    emit(document, as_json=as_json, text=f"{heading}\n{sizes}\n{said}")


def _flat(facts: dict[str, Any]) -> "Iterator[tuple[str, str]]":
    for name, value in facts.items():
        parts = value.items() if isinstance(value, dict) else ()
        yield name, ", ".join(f"{part} {count:,}" for part, count in parts) if parts else f"{value:,}"
