"""The manifest of one immutable set of offline tables."""

from datetime import datetime
from pathlib import Path
from typing import Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError, model_validator

from contracts.embeddings import EmbeddingSpec
from contracts.home import Home

__all__ = ["PUSHED", "SNAPSHOT_MANIFEST", "Snapshot", "SplitInstants", "TableInfo", "stored_snapshot", "table_path"]

PUSHED: Final = ", and what was pushed"
"""Ends the source of a snapshot that has taken in pushed rows."""

SNAPSHOT_MANIFEST: Final = "snapshot.json"
"""File beside the tables that describes them."""

_SIMULATOR: Final = "simulator "


class TableInfo(BaseModel):
    """Size and content hash of one table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    sha256: str
    """Over the values of all columns."""


class SplitInstants(BaseModel):
    """Two global instants that cut all users at once: train | validation | test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_until: AwareDatetime
    """Training events are strictly before this instant."""
    validation_until: AwareDatetime
    """Validation events are in ``[train_until, validation_until)``; test events follow."""
    nominal: bool
    """True where the publisher gave a split but no times, and the instants only encode that split."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.train_until >= self.validation_until:
            raise ValueError("train_until must be before validation_until")
        return self

    def describe(self) -> str:
        """One line for the protocol fingerprint."""
        kind = "given split" if self.nominal else "global instants"
        return f"{kind} {self.train_until.isoformat()} {self.validation_until.isoformat()}"


class Snapshot(BaseModel):
    """What one ingest wrote. Its id is the hash of its content: equal data, equal id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    dataset: str
    """Name of the data, e.g. ``tiktok`` or ``simulated``."""
    source: str
    """Where it came from: a path, or the simulator's settings."""
    created_at: datetime
    tables: dict[str, TableInfo]
    embeddings: dict[str, EmbeddingSpec]
    """Name of the spec → the spec. A further revision of the same encoder output, which is served beside the first
    until the switch, has its digest in the name: ``visual@1a2b3c4d``."""
    split: SplitInstants
    media: str | None = None
    """Directory that the paths in the tables' media columns are below."""

    @property
    def world(self) -> str:
        """What is alike in snapshots that may be compared: the data set; of simulated data also the settings."""
        if not self.source.startswith(_SIMULATOR):
            return self.dataset
        return f"{self.dataset} {self.source.removesuffix(PUSHED)}"

    @property
    def video_modalities(self) -> dict[str, EmbeddingSpec]:
        """Modality → the spec in use, of the videos' embeddings."""
        return {
            name: spec for name, spec in sorted(self.embeddings.items()) if spec.entity == "video" and name == spec.name
        }


def table_path(home: Home, snapshot_id: str, table: str) -> Path:
    """The file of one offline table, whether or not it is there."""
    return home.offline / snapshot_id / f"{table}.parquet"


def stored_snapshot(home: Home, snapshot_id: str) -> Snapshot | None:
    """What is known of a snapshot, for whoever only describes it; None where its manifest is gone or damaged."""
    try:
        return Snapshot.model_validate_json((home.offline / snapshot_id / SNAPSHOT_MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None
