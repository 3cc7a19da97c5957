"""Experiments on live traffic and their reports; experiment and teams of served lists."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables; lists that were served before belong to no experiment."""
    op.create_table(
        "experiments",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("surface", sa.String(64), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("champion", sa.String(32), nullable=False),
        sa.Column("challenger", sa.String(32)),
        sa.Column("weight", sa.Float),
        sa.Column("epsilon", sa.Float),
        sa.Column("top", sa.Integer),
        sa.Column("rule", sa.JSON, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("started_by", sa.String(128), nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("ended_by", sa.String(128)),
        sa.Column("end_reason", sa.String),
        sa.Column("running_on", sa.String(64), unique=True),
    )
    op.create_index("experiments_by_start", "experiments", ["started_at"])
    op.create_table(
        "experiment_reports",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("experiment", sa.String(64), nullable=False),
        sa.Column("surface", sa.String(64), nullable=False),
        sa.Column("champion", sa.String(32), nullable=False),
        sa.Column("challenger", sa.String(32)),
        sa.Column("body", sa.JSON, nullable=False),
    )
    op.create_index("experiment_reports_by_experiment", "experiment_reports", ["experiment", "at"])
    op.create_index("experiment_reports_by_pair", "experiment_reports", ["surface", "champion", "challenger", "at"])
    op.add_column("responses", sa.Column("experiment", sa.String(64)))
    op.add_column("responses", sa.Column("teams", sa.JSON))
    op.create_index("responses_by_experiment", "responses", ["experiment", "at"])


def downgrade() -> None:
    """Drop what was added."""
    op.drop_index("responses_by_experiment", "responses")
    with op.batch_alter_table("responses") as responses:
        responses.drop_column("teams")
        responses.drop_column("experiment")
    op.drop_table("experiment_reports")
    op.drop_table("experiments")
