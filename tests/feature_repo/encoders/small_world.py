"""A small data set with media, and an encoder whose vectors are known by heart."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from contracts.embeddings import EmbeddingSpec
from contracts.home import Home
from contracts.snapshot import Snapshot, SplitInstants
from contracts.tables import MUSIC, POSTS, USERS, VIDEOS
from feature_repo.encoders.encoding import (
    Encoder,
    EncoderOptions,
    Entity,
    Fault,
    MediaItem,
    Vectors,
    load_items,
)
from feature_repo.encoders.frames import item_frames
from feature_repo.encoders.media import write_clip, write_image
from feature_repo.offline import read_table, write_snapshot
from feature_repo.raw_tables import RawTables, microseconds, table_of

DAY = datetime(2025, 3, 1, tzinfo=UTC)
HOUR = 3_600_000_000


def level_of(number: int) -> int:
    """Grey of the clip of video ``number``."""
    return 10 + 8 * number


def write_media(root: Path, videos: int) -> None:
    """Clips ``v0.mp4`` … of one grey each, and two images."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(videos):
        pixels = np.full((32, 32, 3), level_of(number), np.uint8)
        write_clip(root / f"v{number}.mp4", [pixels] * 3)
    for name, level in (("dark.png", 20), ("light.png", 220)):
        write_image(root / name, np.full((8, 8, 3), level, np.uint8))


def write_world(home: Home, root: Path, videos: int = 6, media: Sequence[str | None] | None = None) -> Snapshot:
    """A snapshot of ``videos`` videos, published hourly and known half an hour later, three posts and two pieces."""
    paths = [f"v{number}.mp4" for number in range(videos)] if media is None else list(media)
    times = microseconds(DAY) + HOUR * np.arange(len(paths))
    moment = microseconds(DAY)
    tables = {
        "users": table_of(USERS, np.array([moment]), user_id=pa.array(["u0"])),
        "videos": table_of(
            VIDEOS,
            times,
            times + HOUR // 2,
            video_id=pa.array([f"v{number}" for number in range(len(paths))]),
            title=pa.array([f"title {number}" for number in range(len(paths))]),
            media=pa.array(paths, pa.string()),
        ),
        "posts": table_of(
            POSTS,
            np.full(3, moment),
            post_id=pa.array(["p0", "p1", "p2"]),
            user_id=pa.array(["u0"] * 3),
            text=pa.array(["words", None, "  "]),
            images=pa.array([["dark.png", "light.png"], None, []], pa.list_(pa.string())),
            video=pa.array([None, "v0.mp4", None], pa.string()),
        ),
        "music": table_of(
            MUSIC,
            np.full(2, moment),
            music_id=pa.array(["m0", "m1"]),
            mood=pa.array(["sad", None]),
            pitch=pa.array([None, None], pa.float32()),
            tempo=pa.array([99.0, 77.0], pa.float32()),
            media=pa.array(["m0.wav", "m1.wav"]),
        ),
    }
    split = SplitInstants(train_until=DAY, validation_until=DAY + timedelta(days=1), nominal=False)
    snapshot, _ = write_snapshot(home, RawTables(tables, {}, split, "small", "a test", root))
    return snapshot


@dataclass
class Grey:
    """Encodes an item as (mean of its pictures, their number); counts what it is asked for."""

    options: EncoderOptions
    revision: str = "1"
    asked: list[str] = field(default_factory=list)

    def spec(self, entity: Entity) -> EmbeddingSpec:
        return EmbeddingSpec(
            entity=entity,
            modality="visual",
            encoder="grey",
            revision=self.revision,
            preprocessing=f"{self.options.frames or 2} frames",
            width=2,
            dtype="float32",
            normalisation="none",
            available_from=self.options.available_from,
        )

    def encode(self, batch: Sequence[MediaItem]) -> tuple[Vectors, list[Fault | None]]:
        self.asked += [item.id for item in batch]
        loaded, faults = load_items(
            lambda item: item_frames(item, self.options.frames or 2), batch, self.options.threads
        )
        rows = [(np.nan, 0) if pictures is None else (np.mean(pictures), len(pictures)) for pictures in loaded]
        return np.array(rows, np.float32).reshape(-1, 2), faults


def grey_encoder(asked: list[str], revision: str = "1") -> Encoder:
    """An entry of the registry that notes the ids it is asked for."""
    return Encoder("grey", ("video", "post"), "visual", lambda options: Grey(options, revision, asked), "images")


def vectors_of(home: Home, snapshot: Snapshot, name: str, key: str = "video_id") -> dict[str, list[float]]:
    """Id → vector of an embedding table."""
    table = read_table(home, snapshot, f"embedding_{name}")
    return dict(zip(table[key].to_pylist(), table["vector"].to_pylist(), strict=True))
