"""The rows of an entity's table as items to encode, with what tells whether their media have changed."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import BadInput, NotFound
from contracts.files import file_sha256
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import ENTITY_KEYS, ENTITY_TABLES
from feature_repo.encoders.encoding import Encoder, Entity, Fault, MediaItem
from feature_repo.offline import read_table

__all__ = ["Items", "content_of", "stamp_of"]

_TEXTS = {"video": "title", "music": "title", "post": "text"}
_OUTSIDE = r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\x00"


class Items:
    """What there is to encode of one entity.

    Args:
        home: Where the snapshot is.
        snapshot: Whose table.
        entity: Which.
        encoder: Says what of an item is read.

    Raises:
        NotFound: The snapshot has no such table, or its media directory is gone.
        BadInput: It names no media directory, or a path in the table leads out of it.
    """

    def __init__(self, home: Home, snapshot: Snapshot, entity: Entity, encoder: Encoder) -> None:
        name = ENTITY_TABLES[entity]
        if name not in snapshot.tables:
            raise NotFound(
                f"table {name!r} of snapshot {snapshot.id}",
                found="none",
                expected=f"a data set with {name}, which {encoder.name} encodes",
                next_step="ingest one, or choose another --entity",
            )
        self.entity = entity
        self.source = encoder.source
        self.table = read_table(home, snapshot, name)
        self.ids: list[str] = self.table[ENTITY_KEYS[entity]].to_pylist()
        self._texts: list[str | None] = [None] * len(self.ids)
        self._images: list[list[str] | None] = [None] * len(self.ids)
        self._clips: list[str | None] = [None] * len(self.ids)
        self._root = Path()
        if encoder.source == "text":
            self._texts = self.table[_TEXTS[entity]].to_pylist()
            return
        self._root = _media_directory(snapshot)
        column = "video" if entity == "post" else "media"
        _require_inside(name, column, self.table[column], self._root)
        self._clips = self.table[column].to_pylist()
        if entity == "post" and encoder.source == "images":
            _require_inside(name, "images", pc.list_flatten(self.table["images"]), self._root)
            self._images = self.table["images"].to_pylist()

    def __len__(self) -> int:
        return len(self.ids)

    def item(self, row: int) -> MediaItem | None:
        """One row as an item; None where it has nothing that the encoder reads."""
        text, images, clip = self._texts[row], self._images[row] or [], self._clips[row]
        if not ((text or "").strip() or images or clip):
            return None
        return MediaItem(
            self.entity,
            self.ids[row],
            text,
            tuple(self._root / path for path in images if path),
            self._root / clip if clip else None,
        )

    def link_out(self, item: MediaItem) -> Fault | None:
        """A fault where one of the item's files is a link that leads out of the media directory."""
        root = os.path.realpath(self._root)
        for path in _files(item):
            if os.path.commonpath([root, os.path.realpath(path)]) != root:
                return Fault("a link that leads out of the media directory", str(path))
        return None

    def relative(self, path: str | None) -> str | None:
        """A file's path as the table writes it."""
        return path if path is None else path.removeprefix(f"{self._root}{os.sep}")


def stamp_of(item: MediaItem) -> str:
    """Changes whenever the item's text, or the size, time or name of a file does; empty where a file is missing.

    A quick look that spares reading files whose content was hashed before.
    """
    parts: list[Any] = [item.text]
    try:
        for path in _files(item):
            found = path.stat()
            parts.append((str(path), found.st_size, found.st_mtime_ns))
    except OSError:
        return ""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def content_of(item: MediaItem) -> str:
    """Hash of the item's text and of its files' bytes; empty where a file cannot be read."""
    try:
        parts = (item.text, [file_sha256(path) for path in item.images], item.clip and file_sha256(item.clip))
    except OSError:
        return ""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _files(item: MediaItem) -> tuple[Path, ...]:
    return item.images if item.clip is None else (*item.images, item.clip)


def _media_directory(snapshot: Snapshot) -> Path:
    if snapshot.media is None:
        raise BadInput(
            f"snapshot {snapshot.id}",
            found="no media directory",
            expected="data that were ingested with their media files",
            next_step="ingest data with media, such as `backbeat ingest simulate --media`",
        )
    root = Path(snapshot.media)
    if not root.is_dir():
        raise NotFound(
            f"media of snapshot {snapshot.id}",
            found=f"no directory {root}",
            expected="the directory the data were ingested with",
            next_step="bring it back, or ingest the data again",
        )
    return root


def _require_inside(table: str, column: str, paths: pa.ChunkedArray, root: Path) -> None:
    outside = pc.filter(paths, pc.fill_null(pc.match_substring_regex(paths, _OUTSIDE), False))
    if len(outside):
        raise BadInput(
            f"table {table!r}, column {column}",
            found=f"{len(outside):,} paths that lead out of the media directory, the first {outside[0].as_py()!r}",
            expected=f"paths below {root}",
            next_step="correct the paths and ingest again",
        )
