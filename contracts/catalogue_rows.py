"""The read model of MLflow's versions: what the registry's pages sort, filter and search.

MLflow stays the store of truth; these rows are a copy that can be dropped and made again.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from contracts.platform import PlatformBase

__all__ = ["CatalogueBodyRow", "CatalogueMetricRow", "CatalogueSyncRow", "CatalogueTextRow", "CatalogueVersionRow"]


class CatalogueVersionRow(PlatformBase):
    """One version: what tables are sorted and filtered by."""

    __tablename__ = "catalogue_versions"

    surface: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    model: Mapped[str] = mapped_column(String(256))
    variant: Mapped[str] = mapped_column(String(256))
    state: Mapped[str] = mapped_column(String(64))
    """By its aliases, then by its tag."""
    tagged: Mapped[str] = mapped_column(String(256))
    """The tag alone; empty where there is none."""
    author: Mapped[str] = mapped_column(String(256))
    created_at: Mapped[datetime]
    protocol: Mapped[str] = mapped_column(String(256))
    snapshot: Mapped[str] = mapped_column(String(256))
    primary: Mapped[float | None] = mapped_column("primary_metric", Float)
    low: Mapped[float | None] = mapped_column("primary_low", Float)
    """Bounds of the primary metric's 95 % interval, where training has logged them."""
    high: Mapped[float | None] = mapped_column("primary_high", Float)
    aliases: Mapped[list[Any]]
    run_id: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(Text)
    """Address of the package."""
    updated: Mapped[int] = mapped_column(BigInteger)
    """MLflow's time of the last update, in milliseconds."""
    digest: Mapped[str] = mapped_column(String(32))
    """Of everything in MLflow that the row was made from, metrics aside."""
    stamp: Mapped[str] = mapped_column(String(64))
    """Of the run's metrics: how many there are, and the time of the newest."""

    __table_args__ = (
        Index("catalogue_by_model", "surface", "model", "variant"),
        Index("catalogue_by_variant", "surface", "variant"),
        Index("catalogue_by_state", "surface", "state"),
        Index("catalogue_by_author", "surface", "author"),
        Index("catalogue_by_created", "surface", "created_at"),
        Index("catalogue_by_protocol", "surface", "protocol"),
        Index("catalogue_by_snapshot", "surface", "snapshot"),
        Index("catalogue_by_primary", "surface", "primary_metric"),
        Index("catalogue_by_low", "surface", "primary_low"),
        Index("catalogue_by_high", "surface", "primary_high"),
    )


class CatalogueBodyRow(PlatformBase):
    """The rest of a version, which is read for the rows of one page only."""

    __tablename__ = "catalogue_bodies"

    surface: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tags: Mapped[dict[str, Any]]
    parameters: Mapped[dict[str, Any]]
    """Configuration of the run, as MLflow keeps it: texts."""
    metrics: Mapped[dict[str, Any]]
    """Null where a value is not finite."""


class CatalogueTextRow(PlatformBase):
    """Names, tags and configuration of a version in lower case, for free-text search."""

    __tablename__ = "catalogue_texts"

    surface: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Text)


class CatalogueMetricRow(PlatformBase):
    """One metric of a version, so that any metric sorts and filters without reading JSON; those of the machine are
    left out."""

    __tablename__ = "catalogue_metrics"

    surface: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(250), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    value: Mapped[float] = mapped_column(Float)

    __table_args__ = (Index("catalogue_metrics_by_version", "surface", "number"),)


class CatalogueSyncRow(PlatformBase):
    """How far the copy is; one row."""

    __tablename__ = "catalogue_sync"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(BigInteger)
    """Grows with every change of the copy; whoever writes must have read the newest."""
    watermark: Mapped[int] = mapped_column(BigInteger)
    """Newest time of update that was seen, in MLflow's milliseconds."""
