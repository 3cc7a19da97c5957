"""The video that a list of background music was for."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; lists that were served before were for no video."""
    op.add_column("responses", sa.Column("video_id", sa.String(256)))


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("responses") as table:
        table.drop_column("video_id")
