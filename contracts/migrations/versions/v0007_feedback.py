"""Feedback on served lists; arm and propensities of those."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the table; arm and propensities stay empty for the lists that are there."""
    op.create_table(
        "feedback",
        sa.Column("response_id", sa.String(32), primary_key=True),
        sa.Column("event_id", sa.String(256), primary_key=True),
        sa.Column("item_id", sa.String(256), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("late", sa.Boolean, nullable=False),
    )
    op.create_index("feedback_by_time", "feedback", ["received_at"])
    op.add_column("responses", sa.Column("arm", sa.String(64)))
    op.add_column("responses", sa.Column("propensities", sa.JSON))
    op.create_index("responses_by_user", "responses", ["user_id"])


def downgrade() -> None:
    """Drop what was added."""
    op.drop_index("responses_by_user", "responses")
    with op.batch_alter_table("responses") as responses:
        responses.drop_column("propensities")
        responses.drop_column("arm")
    op.drop_table("feedback")
