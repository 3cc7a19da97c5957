"""The events of a training frame, found again in the raw tables of its snapshot."""

from typing import Any

from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.surfaces import BACKGROUND_MUSIC, MUSIC
from feature_repo.frame import TrainingFrame
from feature_repo.offline import read_table


def moments_of(home: Home, snapshot: Snapshot, frame: TrainingFrame, surface: str) -> list[Any]:
    """When the validation events happened, found again in the raw table by who chose what."""
    table, user = ("listens", "user_id") if surface == MUSIC else ("videos", "author_id")
    raw = read_table(home, snapshot, table).to_pylist()
    split = snapshot.split
    found = [
        row
        for row in sorted(raw, key=lambda row: max(row["event_time"], row["ingested_at"]))
        if row.get("kind", "listen") == "listen" and row[user] is not None and row["music_id"] is not None
    ]
    inside = [
        row for row in found if split.train_until <= max(row["event_time"], row["ingested_at"]) < split.validation_until
    ]
    pairs = [tuple(pair) for pair in frame.validation.tolist()]
    keys = [(frame.users.rows([row[user]])[0], frame.items.rows([row["music_id"]])[0]) for row in inside]
    moments, taken = [], set()
    for pair in pairs:
        place = next(n for n, key in enumerate(keys) if key == pair and n not in taken)
        taken.add(place)
        moments.append(inside[place]["event_time"])
    return moments


def videos_of(home: Home, snapshot: Snapshot, frame: TrainingFrame) -> list[str]:
    """The video of each validation event: there is one with that author at that moment."""
    moments = moments_of(home, snapshot, frame, BACKGROUND_MUSIC)
    raw = read_table(home, snapshot, "videos").to_pylist()
    authors = frame.users.ids(frame.validation[:, 0])
    by_event = {(row["author_id"], row["event_time"]): row["video_id"] for row in raw}
    return [by_event[author, moment] for author, moment in zip(authors, moments, strict=True)]


def posted_since(home: Home, snapshot: Snapshot, user: str, moment: Any) -> bool:
    posts = read_table(home, snapshot, "posts", ["user_id", "ingested_at"]).to_pylist()
    return any(post["user_id"] == user and post["ingested_at"] >= moment for post in posts)
