"""What every encoder is: from items with media or text to vectors, a spec, and faults for what cannot be read."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput

__all__ = [
    "Absent",
    "Encoder",
    "EncoderOptions",
    "Encoding",
    "Entity",
    "Fault",
    "FillsColumns",
    "MediaItem",
    "Vectors",
    "load_items",
]

Entity = Literal["video", "music", "post"]
Vectors = npt.NDArray[np.float32]
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class MediaItem:
    """One row of ``videos``, ``music`` or ``posts``: what there is to encode. The paths are absolute."""

    entity: Entity
    id: str
    text: str | None = None
    """Title of a video or of music, text of a post."""
    images: tuple[Path, ...] = ()
    """Images of a post."""
    clip: Path | None = None
    """The video, or the audio file of music."""

    @property
    def sound(self) -> Path:
        """The file to listen to.

        Raises:
            Absent: There is none.
        """
        if self.clip is None:
            raise Absent(f"{self.entity} {self.id}", found="no media", expected="a file", next_step="skip it")
        return self.clip


@dataclass(frozen=True)
class Fault:
    """Why an item has no vector."""

    reason: str
    path: str | None = None
    """The file at fault; None where it is the text, or nothing was given."""
    absent: bool = False
    """There is nothing to encode, such as a clip without sound: skipped, and no error."""


class Absent(BadInput):
    """An item has nothing for this encoder. Loaders raise it; ``load_items`` makes a fault of it that is no error."""


@dataclass(frozen=True)
class EncoderOptions:
    """What a user may set; an encoder ignores what it has no use for."""

    weights: str | None = None
    """Path of the weights, or a hub id; the encoder's own where it ships some."""
    device: str = "cpu"
    """Torch device, already resolved (never ``auto``)."""
    frames: int | None = None
    """Frames of a video; the encoder's default if None. Posts always have the first, middle and last."""
    batch: int = 16
    """Items that go through the network at once."""
    threads: int = 1
    """Threads that decode media."""
    available_from: datetime | None = None
    """End of the weights' training: nothing made with them could be known before."""


class Encoding(Protocol):
    """An encoder with its weights loaded."""

    def spec(self, entity: Entity) -> EmbeddingSpec:
        """What its vectors of this entity are. Equal specs mean equal vectors for equal input."""
        ...

    def encode(self, batch: Sequence[MediaItem]) -> tuple[Vectors, list[Fault | None]]:
        """Vectors ``[n, width]`` and, for each item, None or why its row is to be dropped.

        An item that cannot be read is a fault, never an exception; the vectors of the others do not depend on it.
        """
        ...


class FillsColumns(Encoding, Protocol):
    """An encoding whose numbers belong into columns of the entity's own table."""

    def columns(self, vectors: Vectors) -> dict[str, pa.Array]:
        """``[n, width]`` as columns ``[n]`` of the table, null where there is no value."""
        ...


@dataclass(frozen=True)
class Encoder:
    """An entry of the registry."""

    name: str
    entities: tuple[Entity, ...]
    """What it applies to; the first is the default."""
    modality: str
    """Of ``EmbeddingSpec.modality``."""
    build: Callable[[EncoderOptions], Encoding]
    """Load the weights; imports what is heavy only now."""
    source: Literal["text", "images", "audio"]
    """What of an item it reads: ``images`` are those of a post and the frames of a clip."""
    fills: tuple[str, ...] = ()
    """Columns of the entity's own table that it fills, instead of writing embeddings."""


def load_items(
    load: Callable[[MediaItem], Loaded], items: Sequence[MediaItem], threads: int
) -> tuple[list[Loaded | None], list[Fault | None]]:
    """Read the media of a batch in parallel; PyAV, OpenCV and NumPy release the interpreter while they decode.

    Args:
        load: Reads one item; raises BadInput, with the file as its subject, for one that cannot be read.
        items: The batch, ``[n]``.
        threads: At most so many at once.

    Returns:
        What was loaded, ``[n]`` (None at faults), and the faults, ``[n]`` (None elsewhere).
    """

    def one(item: MediaItem) -> tuple[Loaded | None, Fault | None]:
        try:
            return load(item), None
        except BadInput as error:
            return None, Fault(error.found, error.subject, absent=isinstance(error, Absent))

    if threads == 1 or len(items) < 2:
        pairs = [one(item) for item in items]
    else:
        with ThreadPoolExecutor(min(threads, len(items))) as pool:
            pairs = list(pool.map(one, items))
    return [value for value, _ in pairs], [fault for _, fault in pairs]
