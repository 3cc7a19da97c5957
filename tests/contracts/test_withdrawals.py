"""What is withdrawn, by whom and why, and the audit of it."""

import pytest
from sqlalchemy import select

from contracts.database import Database
from contracts.errors import BadInput, NotFound
from contracts.platform import AuditRow
from contracts.surfaces import SURFACES
from contracts.withdrawals import admit_items, kind_of_surface, withdraw_items, withdrawals, withdrawals_as_of


def ids(database: Database, kind: str = "video") -> list[str]:
    return [each.item_id for each in withdrawals(database, kind)]  # type: ignore[arg-type]


def test_items_are_withdrawn_and_admitted_again(each_database: Database) -> None:
    assert withdraw_items(each_database, "video", ["v1", "v2", "v1"], "ann", "deleted") == 2
    assert withdraw_items(each_database, "video", ["v2", "v3"], "ben", "illegal") == 1
    assert withdraw_items(each_database, "music", ["v1"], "ben", "licence ended") == 1
    assert ids(each_database) == ["v3", "v1", "v2"]
    assert [(each.actor, each.reason) for each in withdrawals(each_database, "video")] == [
        ("ben", "illegal"),
        ("ann", "deleted"),
        ("ann", "deleted"),
    ]
    admit_items(each_database, "video", ["v2", "v3"], "ann", "a mistake")
    assert ids(each_database) == ["v1"]
    assert ids(each_database, "music") == ["v1"]
    with each_database.session() as session:
        rows = session.scalars(select(AuditRow).order_by(AuditRow.id))
        assert [(row.actor, row.action, row.version, [each["sentence"] for each in row.verdicts]) for row in rows] == [
            ("ann", "withdraw", "video", ["v1", "v2"]),
            ("ben", "withdraw", "video", ["v3"]),
            ("ben", "withdraw", "music", ["v1"]),
            ("ann", "admit", "video", ["v2", "v3"]),
        ]


def test_more_than_a_statement_takes(database: Database) -> None:
    many = [f"v{number}" for number in range(1_200)]
    assert withdraw_items(database, "video", many[:1_000], "ann", "deleted") == 1_000
    assert withdraw_items(database, "video", many, "ann", "deleted") == 200
    assert len(ids(database)) == 1_200


def test_every_change_can_be_told_without_reading_all(database: Database) -> None:
    seen = [withdrawals_as_of(database, "video")]
    withdraw_items(database, "video", ["v1"], "ann", "deleted")
    seen.append(withdrawals_as_of(database, "video"))
    withdraw_items(database, "video", ["v2"], "ann", "deleted")
    seen.append(withdrawals_as_of(database, "video"))
    admit_items(database, "video", ["v1"], "ann", "a mistake")
    withdraw_items(database, "video", ["v3"], "ann", "deleted")
    seen.append(withdrawals_as_of(database, "video"))
    withdraw_items(database, "video", ["v3"], "ann", "again")
    assert len(set(seen)) == 4
    assert withdrawals_as_of(database, "video") == seen[-1]


def test_what_is_not_withdrawn_cannot_be_admitted(database: Database) -> None:
    withdraw_items(database, "video", ["v1"], "ann", "deleted")
    with pytest.raises(NotFound, match="withdrawn video 'v2'"):
        admit_items(database, "video", ["v1", "v2"], "ann", "a mistake")
    assert ids(database) == ["v1"], "all or nothing"


@pytest.mark.parametrize("change", [withdraw_items, admit_items])
def test_nothing_is_changed_without_a_reason(database: Database, change: type) -> None:
    with pytest.raises(BadInput, match="--reason"):
        change(database, "video", ["v1"], "ann", " ")


def test_what_the_surfaces_recommend() -> None:
    kinds = {surface: kind_of_surface(surface) for surface in SURFACES}  # type: ignore[arg-type]
    assert kinds == {"video-feed": "video", "background-music": "music", "music": "music"}
