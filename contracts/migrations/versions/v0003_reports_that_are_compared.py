"""Validation reports with their data set, baseline and failed suites; overrides of failed ones."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, which stay empty for the reports that are there, and create the table."""
    with op.batch_alter_table("validation_reports") as reports:
        reports.add_column(sa.Column("dataset", sa.String(256)))
        reports.add_column(sa.Column("baseline", sa.String(64)))
        reports.add_column(sa.Column("failed", sa.JSON))
        reports.add_column(sa.Column("declined", sa.String(64)))
        reports.add_column(sa.Column("number", sa.BigInteger, nullable=False, server_default="0"))
        reports.drop_index("validation_by_snapshot")
        reports.create_index("validation_by_snapshot", ["snapshot", "number"])
        reports.create_index("validation_by_dataset", ["dataset", "number"])
        reports.create_index("validation_by_number", ["number"])
    connection = op.get_bind()
    known = connection.execute(sa.text("SELECT id FROM validation_reports ORDER BY created_at")).scalars().all()
    for number, report_id in enumerate(known, start=1):
        update = sa.text("UPDATE validation_reports SET number = :number WHERE id = :id")
        connection.execute(update, {"number": number, "id": report_id})
    op.create_table(
        "validation_overrides",
        sa.Column("report_id", sa.String(32), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )


def downgrade() -> None:
    """Drop what was added; what was overridden is only failed again."""
    op.drop_table("validation_overrides")
    with op.batch_alter_table("validation_reports") as reports:
        for name in ("validation_by_number", "validation_by_dataset", "validation_by_snapshot"):
            reports.drop_index(name)
        reports.create_index("validation_by_snapshot", ["snapshot", "created_at"])
        for name in ("number", "declined", "failed", "baseline", "dataset"):
            reports.drop_column(name)
