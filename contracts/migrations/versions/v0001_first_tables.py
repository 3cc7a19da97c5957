"""Jobs, validation reports, audit, responses and shadow lists."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("snapshot", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_index("jobs_by_kind", "jobs", ["kind", "snapshot", "started_at"])
    op.create_table(
        "validation_reports",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("snapshot", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("success", sa.Boolean, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
    )
    op.create_index("validation_by_snapshot", "validation_reports", ["snapshot", "created_at"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("surface", sa.String(64), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("before", sa.String(32), nullable=False),
        sa.Column("after", sa.String(32), nullable=False),
        sa.Column("displaced", sa.String(32)),
        sa.Column("verdicts", sa.JSON, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_index("audit_by_surface", "audit", ["surface", "at"])
    op.create_table(
        "responses",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("surface", sa.String(64), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("user_id", sa.String(256), nullable=False),
        sa.Column("items", sa.JSON, nullable=False),
        sa.Column("latency_ms", sa.Float, nullable=False),
    )
    op.create_index("responses_by_time", "responses", ["surface", "at"])
    op.create_table(
        "shadow_lists",
        sa.Column("response_id", sa.String(32), primary_key=True),
        sa.Column("version", sa.String(32), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("items", sa.JSON, nullable=False),
        sa.Column("latency_ms", sa.Float, nullable=False),
        sa.Column("error", sa.String),
    )
    op.create_table(
        "shadow_reports",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("surface", sa.String(64), nullable=False),
        sa.Column("champion", sa.String(32), nullable=False),
        sa.Column("shadow", sa.String(32), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    """Drop them again."""
    for table in ("shadow_reports", "shadow_lists", "responses", "audit", "validation_reports", "jobs"):
        op.drop_table(table)
