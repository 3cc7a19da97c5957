"""How a run of an encoder went."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.embeddings import EmbeddingSpec
from contracts.errors import ItemsSkipped
from contracts.jobs import JobState
from contracts.snapshot import Snapshot

__all__ = ["Encoded"]

_SHOWN_FAULTS = 20


@dataclass
class Encoded:
    """How a run went."""

    encoder: str
    spec: EmbeddingSpec
    snapshot: Snapshot
    """The new one, or the one that was read where the job was stopped."""
    name: str
    """Of the embeddings, or the columns that were filled."""
    job: str
    state: str
    items: int = 0
    encoded: int = 0
    """By this run, on the data as they are now."""
    skipped: int = 0
    """Encoded before."""
    absent: int = 0
    """Items without anything to encode."""
    seconds: float = 0.0
    created: bool = False
    """Whether the snapshot is new."""
    faults: list[dict[str, str | None]] = field(default_factory=list)
    """``id``, ``path``, ``reason`` of each item that could not be read."""
    faults_file: Path | None = None

    def begin(self, snapshot: Snapshot, name: str, items: int) -> None:
        """Start the count: of a first look at the data, or of another one because they have changed."""
        self.snapshot, self.name, self.items, self.absent, self.faults = snapshot, name, items, 0, []
        self.encoded = self.skipped = 0
        self.faults_file = None

    @property
    def error(self) -> ItemsSkipped | None:
        """What to end with where items could not be read."""
        if not self.faults:
            return None
        first = self.faults[0]
        return ItemsSkipped(
            f"encoding of {self.spec.entity} with {self.encoder}",
            found=f"{len(self.faults):,} of {self.items:,} items that cannot be read, the first "
            f"{first['id']}: {first['path'] or 'its text'}: {first['reason']}",
            expected="whole media files",
            next_step=f"look at {self.faults_file}, replace the files and run the same command again: "
            "it encodes only what is missing",
        )

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        rate = self.encoded / self.seconds if self.seconds else None
        return {
            "encoder": self.encoder,
            "entity": self.spec.entity,
            "name": self.name,
            "spec": self.spec.model_dump(mode="json"),
            "digest": self.spec.digest,
            "view": self.spec.view,
            "snapshot": self.snapshot.id,
            "outcome": self.state if self.state != JobState.DONE else "created" if self.created else "unchanged",
            "job": self.job,
            "items": self.items,
            "encoded": self.encoded,
            "skipped": self.skipped,
            "absent": self.absent,
            "faults": len(self.faults),
            "first_faults": self.faults[:_SHOWN_FAULTS],
            "faults_file": str(self.faults_file) if self.faults_file else None,
            "seconds": round(self.seconds, 3),
            "items_per_s": round(rate, 2) if rate else None,
        }
