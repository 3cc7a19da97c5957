"""The verdicts that reports on shadows and on experiments carry."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from contracts.experiments import latest_report
from contracts.verdict import LiveVerdict

__all__ = ["ToldVerdict", "newest_verdict", "read_verdict"]


@dataclass(frozen=True)
class ToldVerdict:
    """A stored verdict, or why it cannot be read, and whose it is."""

    verdict: LiveVerdict | None
    fault: str | None
    source: str
    """``shadow report``, or ``experiment`` and its name."""

    @property
    def measured(self) -> bool:
        """Whether anything is known of the objective."""
        return self.fault is not None or (self.verdict is not None and self.verdict.reason != "not_measured")


def newest_verdict(
    session: Session, surface: str, champion: str, version: str, at: datetime, body: Mapping[str, Any]
) -> ToldVerdict:
    """The newest verdict on a version beside a champion: of its shadow report, or of an experiment between the two.

    One that could not measure its objective, as a shadow's without exploration, does not take the place of one that
    could.

    Args:
        session: A transaction on the platform's tables.
        surface: Registered model.
        champion: Version.
        version: Likewise.
        at: When the shadow report was stored.
        body: Of it.
    """
    aside = ToldVerdict(*read_verdict(body), "shadow report")
    found = latest_report(session, surface=surface, champion=champion, challenger=version)
    if found is None:
        return aside
    ended, document = found
    tried = ToldVerdict(*read_verdict(document), f"experiment {document.get('experiment')}")
    newer, older = (tried, aside) if ended > at else (aside, tried)
    return older if older.measured and not newer.measured else newer


def read_verdict(body: Mapping[str, Any]) -> tuple[LiveVerdict | None, str | None]:
    """The verdict of a stored report, and why there is none.

    Args:
        body: Of the report. Reports of earlier versions have no verdict, which is no fault.

    Returns:
        Verdict and fault; both None where none was stored.
    """
    stored = body.get("verdict")
    if stored is None:
        return None, None
    try:
        return LiveVerdict.model_validate(stored), None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return None, f"{'.'.join(map(str, first['loc'])) or 'verdict'}: {first['msg']}"
