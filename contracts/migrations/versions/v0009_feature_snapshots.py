"""What sampled lists were made from, the processes that write lists down, and lists by their time alone."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables, and what lists are found by when they are exported."""
    op.create_table(
        "feature_snapshots",
        sa.Column("response_id", sa.String(32), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("surface", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(256), nullable=False),
        sa.Column("query", sa.JSON, nullable=False),
        sa.Column("missing", sa.JSON, nullable=False),
        sa.Column("computed_on", sa.JSON, nullable=False),
    )
    op.create_index("feature_snapshots_by_time", "feature_snapshots", ["surface", "at"])
    op.create_index("feature_snapshots_by_user", "feature_snapshots", ["user_id"])
    op.create_table(
        "log_writers",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("host", sa.String(256), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("born", sa.String(128), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("beat_at", MOMENT, nullable=False),
        sa.Column("lists", sa.BigInteger, nullable=False),
        sa.Column("lost", sa.BigInteger, nullable=False),
        sa.Column("lost_from", MOMENT),
        sa.Column("lost_until", MOMENT),
        sa.Column("ended_at", MOMENT),
        sa.Column("missing", sa.BigInteger),
        sa.Column("missing_from", MOMENT),
        sa.Column("missing_until", MOMENT),
    )
    op.create_index("log_writers_by_end", "log_writers", ["ended_at"])
    op.create_index("responses_by_moment", "responses", ["at"])
    op.create_index("shadow_lists_by_time", "shadow_lists", ["at"])


def downgrade() -> None:
    """Drop what was added."""
    op.drop_index("shadow_lists_by_time", "shadow_lists")
    op.drop_index("responses_by_moment", "responses")
    op.drop_table("log_writers")
    op.drop_table("feature_snapshots")
