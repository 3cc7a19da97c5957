"""The catalogue that the registry's pages read."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INDEXES = {
    "model": ["surface", "model", "variant"],
    "variant": ["surface", "variant"],
    "state": ["surface", "state"],
    "author": ["surface", "author"],
    "created": ["surface", "created_at"],
    "protocol": ["surface", "protocol"],
    "snapshot": ["surface", "snapshot"],
    "primary": ["surface", "primary_metric"],
    "low": ["surface", "primary_low"],
    "high": ["surface", "primary_high"],
}


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "catalogue_versions",
        *_key(),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("variant", sa.String(256), nullable=False),
        sa.Column("state", sa.String(64), nullable=False),
        sa.Column("tagged", sa.String(256), nullable=False),
        sa.Column("author", sa.String(256), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("protocol", sa.String(256), nullable=False),
        sa.Column("snapshot", sa.String(256), nullable=False),
        sa.Column("primary_metric", sa.Float),
        sa.Column("primary_low", sa.Float),
        sa.Column("primary_high", sa.Float),
        sa.Column("aliases", sa.JSON, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("stamp", sa.String(64), nullable=False),
    )
    for name, columns in _INDEXES.items():
        op.create_index(f"catalogue_by_{name}", "catalogue_versions", columns)
    op.create_table(
        "catalogue_bodies",
        *_key(),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
    )
    op.create_table("catalogue_texts", *_key(), sa.Column("text", sa.Text, nullable=False))
    op.create_table(
        "catalogue_metrics",
        sa.Column("surface", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(250), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.Float, nullable=False),
    )
    op.create_index("catalogue_metrics_by_version", "catalogue_metrics", ["surface", "number"])
    op.create_table(
        "catalogue_sync",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("watermark", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop them; MLflow has everything that was in them."""
    for table in ("sync", "metrics", "texts", "bodies", "versions"):
        op.drop_table(f"catalogue_{table}")


def _key() -> tuple[sa.Column[str], sa.Column[int]]:
    return (
        sa.Column("surface", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    )
