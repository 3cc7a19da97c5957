"""Jobs that are queued, watched, stopped and resumed; their locks; how far each feature view is online."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

_ADDED: dict[str, Any] = {
    "created_at": MOMENT,
    "subjects": sa.JSON,
    "parameters": sa.JSON,
    "checkpoint": sa.JSON,
    "error": sa.JSON,
    "requested": sa.String(16),
    "done": sa.BigInteger,
    "total": sa.BigInteger,
    "rows": sa.BigInteger,
    "rows_per_second": sa.Float,
    "peak_memory": sa.BigInteger,
    "attempts": sa.Integer,
    "token": sa.String(32),
    "host": sa.String(256),
    "pid": sa.Integer,
    "born": sa.String(128),
    "heartbeat_at": MOMENT,
}
_NEVER_NULL = ("created_at", "subjects", "parameters", "checkpoint", "done", "rows", "attempts")


def upgrade() -> None:
    """Add columns to the jobs, fill them for those that are there, and create the two tables."""
    with op.batch_alter_table("jobs") as jobs:
        for name, kind in _ADDED.items():
            jobs.add_column(sa.Column(name, kind))
        jobs.alter_column("started_at", existing_type=MOMENT, nullable=True)
    op.execute(
        "UPDATE jobs SET created_at = started_at, subjects = '[]', parameters = '{}', checkpoint = '{}', "
        "done = 0, rows = 0, attempts = 1"
    )
    # What an older version left at work has no heartbeat, so nobody could ever tell that it ended.
    op.execute("UPDATE jobs SET state = 'interrupted', ended_at = started_at WHERE state = 'running'")
    with op.batch_alter_table("jobs") as jobs:
        for name in _NEVER_NULL:
            jobs.alter_column(name, existing_type=_ADDED[name], nullable=False)
        jobs.drop_index("jobs_by_kind")
        jobs.create_index("jobs_by_kind", ["kind", "snapshot", "created_at"])
        jobs.create_index("jobs_by_state", ["state", "created_at"])
    op.create_table(
        "job_locks",
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("snapshot", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(128), primary_key=True),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
    )
    op.create_table(
        "online_views",
        sa.Column("snapshot", sa.String(64), primary_key=True),
        sa.Column("view", sa.String(128), primary_key=True),
        sa.Column("definitions", sa.String(64), nullable=False),
        sa.Column("watermark", MOMENT),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
    )


def downgrade() -> None:
    """Drop what was added; jobs that never started are forgotten."""
    op.drop_table("online_views")
    op.drop_table("job_locks")
    op.execute("DELETE FROM jobs WHERE started_at IS NULL")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_index("jobs_by_state")
        jobs.drop_index("jobs_by_kind")
        jobs.create_index("jobs_by_kind", ["kind", "snapshot", "started_at"])
        jobs.alter_column("started_at", existing_type=MOMENT, nullable=False)
        for name in _ADDED:
            jobs.drop_column(name)
