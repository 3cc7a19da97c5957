"""Items that nobody is to be served."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "withdrawn_items",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("item_id", sa.String(256), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("withdrawn_items")
