"""Judgements, requests, approvals, waivers and moves of versions; who holds which alias by our own last word."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NAME = sa.String(32)
SURFACE = sa.String(64)
PERSON = sa.String(128)

_ALIASES = ("champion", "challenger", "shadow")
_TABLES = (
    "standings",
    "deliveries",
    "moves",
    "gate_waivers",
    "promotion_approvals",
    "promotion_requests",
    "judgements",
)


def upgrade() -> None:
    """Create the tables; what the audit log says of the aliases is our last word on them."""
    _create_judgements()
    op.create_table(
        "promotion_requests",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("surface", SURFACE, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.Column("author", PERSON, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("wish", sa.String(160), unique=True),
        sa.Column("decided_at", MOMENT),
        sa.Column("decided_by", PERSON),
        sa.Column("decision_reason", sa.String),
        sa.Column("judgement_id", NAME),
    )
    op.create_index("promotion_requests_by_surface", "promotion_requests", ["surface", "at"])
    op.create_table(
        "promotion_approvals",
        sa.Column("request_id", NAME, primary_key=True),
        sa.Column("actor", PERSON, primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_table(
        "gate_waivers",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("surface", SURFACE, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("approver", PERSON, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("until", MOMENT, nullable=False),
    )
    op.create_index("gate_waivers_by_version", "gate_waivers", ["surface", "version"])
    _create_moves()
    standings = op.create_table(
        "standings",
        sa.Column("surface", SURFACE, primary_key=True),
        sa.Column("alias", NAME, primary_key=True),
        sa.Column("version", NAME),
        sa.Column("at", MOMENT, nullable=False),
    )
    if known := _standings_of_the_audit_log():
        op.bulk_insert(standings, known)


def _create_judgements() -> None:
    op.create_table(
        "judgements",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("surface", SURFACE, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.Column("champion", NAME),
        sa.Column("package_sha256", sa.String(64), nullable=False),
        sa.Column("policy_digest", sa.String(64), nullable=False),
        sa.Column("verdicts", sa.JSON, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("actor", PERSON, nullable=False),
    )
    op.create_index("judgements_by_version", "judgements", ["surface", "version", "target", "at"])


def _create_moves() -> None:
    op.create_table(
        "moves",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("surface", SURFACE, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("action", NAME, nullable=False),
        sa.Column("actor", PERSON, nullable=False),
        sa.Column("before", sa.JSON, nullable=False),
        sa.Column("after", sa.JSON, nullable=False),
        sa.Column("audit", sa.JSON, nullable=False),
        sa.Column("request_id", NAME),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("pending_on", SURFACE, unique=True),
        sa.Column("token", NAME, nullable=False),
        sa.Column("host", sa.String(256)),
        sa.Column("pid", sa.Integer),
        sa.Column("born", sa.String(128)),
        sa.Column("heartbeat_at", MOMENT, nullable=False),
    )
    op.create_index("moves_by_surface", "moves", ["surface", "id"])
    op.create_table(
        "deliveries",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("event", NAME, nullable=False),
        sa.Column("surface", SURFACE, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.String),
    )
    op.create_index("deliveries_by_state", "deliveries", ["state", "next_at"])


def _standings_of_the_audit_log() -> list[dict[str, object]]:
    audit = sa.table(
        "audit", *(sa.column(name) for name in ("id", "surface", "version", "action", "after")), sa.column("at", MOMENT)
    )
    moves = sa.select(audit).where(audit.c.action.in_(("promote", "rollback", "retire"))).order_by(audit.c.id)
    found: dict[tuple[str, str], dict[str, object]] = {}
    for row in op.get_bind().execute(moves).mappings():
        for (surface, _), standing in found.items():
            if surface == row["surface"] and standing["version"] == row["version"]:
                standing.update(version=None, at=row["at"])
        if row["after"] in _ALIASES:
            key = (row["surface"], row["after"])
            found[key] = {"surface": key[0], "alias": key[1], "version": row["version"], "at": row["at"]}
    return list(found.values())


def downgrade() -> None:
    """Drop the tables."""
    for name in _TABLES:
        op.drop_table(name)
