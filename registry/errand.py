"""One errand of the UI in a process of its own: ``python -m registry.errand ID``.

An errand is a job (:mod:`contracts.jobs`) of the kind ``errand``: a registry action that takes longer than a page may.
Its row says how it goes, and outlives the page and the server that started it.
"""

import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, is_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from contracts.clock import utc_now
from contracts.errors import BadInput, unknown_name
from contracts.process import answer_as_module

if TYPE_CHECKING:
    from contracts.home import Home
    from contracts.job_run import JobRun
    from contracts.settings import Settings

__all__ = ["ERRAND", "VERBS", "Errand", "Verb", "do_errand", "main"]

ERRAND: Final = "errand"
"""Kind of these jobs."""

_MOST_STEPS: Final = 200


@dataclass(frozen=True)
class Errand:
    """What is to be done, where and by whom."""

    settings: "Settings"
    home: "Home"
    surface: str
    arguments: Mapping[str, str]
    actor: str

    @property
    def place(self) -> "tuple[Settings, Home, str]":
        """What most actions take first."""
        return self.settings, self.home, self.surface

    def __getitem__(self, name: str) -> str:
        """An argument.

        Raises:
            BadInput: It was not given.
        """
        if name not in self.arguments:
            raise BadInput(
                f"errand of {self.actor}",
                found=f"no {name}",
                expected=f"{name} among its arguments ({', '.join(sorted(self.arguments)) or 'none'})",
                next_step="start it from its page",
            )
        return self.arguments[name]


def _judge(errand: Errand) -> Any:
    from registry.evidence import remeasure_in_clean_process, replay_in_clean_process
    from registry.promotion import judging, require_target
    from registry.writing import writing_registry

    require_target(errand["target"])
    with writing_registry(errand.settings, errand.home) as registry:
        version = registry.store.get(errand.surface, errand["version"])
        ask = judging(registry, errand["target"], errand.actor, replay_in_clean_process, remeasure_in_clean_process)
        return ask(version)


def _request(errand: Errand) -> Any:
    from registry.requests import request_promotion

    return request_promotion(*errand.place, errand["version"], errand["target"], errand["reason"], errand.actor)


def _approve(errand: Errand) -> Any:
    from registry.requests import approve

    return approve(errand.settings, errand.home, errand["request"], errand.actor, errand["reason"])


def _promote(errand: Errand) -> Any:
    from registry.promotion import promote

    return promote(*errand.place, errand["version"], errand["target"], errand["reason"], errand.actor)


def _retire(errand: Errand) -> Any:
    from registry.promotion import retire

    return retire(*errand.place, errand["version"], errand["reason"], errand.actor)


def _rollback(errand: Errand) -> Any:
    from registry.promotion import rollback

    return rollback(*errand.place, errand["reason"], errand.actor)


def _waive(errand: Errand) -> Any:
    from registry.waivers import waive

    days = errand["days"]
    try:
        counted = float(days)
    except ValueError:
        raise BadInput(
            "days of a waiver", found=repr(days), expected="a number", next_step="give how many days it shall hold"
        ) from None
    return waive(*errand.place, errand["version"], errand["gate"], errand.actor, errand["reason"], counted)


def _drift(errand: Errand) -> Any:
    from registry.drift import accept_drift, revert_drift

    endings = {"accepted": accept_drift, "reverted": revert_drift}
    if errand["how"] not in endings:
        raise unknown_name("end of drift", errand["how"], endings, next_step="choose one of these")
    return {"ended": [asdict(one) for one in endings[errand["how"]](*errand.place, errand["reason"], errand.actor)]}


@dataclass(frozen=True)
class Verb:
    """An action: who may start it, what the UI calls it, and what does it."""

    permission: str
    """A key of :data:`registry.web.access.PERMISSIONS`."""
    title: str
    """With the errand's arguments in braces."""
    run: Callable[[Errand], Any]


VERBS: Final[Mapping[str, Verb]] = MappingProxyType(
    {
        "judge": Verb("judge", "Judge version {version} for {target}", _judge),
        "request": Verb("request", "Ask that version {version} be {target}", _request),
        "approve": Verb("decide", "Approve request {request}", _approve),
        "promote": Verb("promote", "Promote version {version} to {target}", _promote),
        "retire": Verb("retire", "Retire version {version}", _retire),
        "rollback": Verb("rollback", "Roll back to the champion before", _rollback),
        "waive": Verb("waive", "Let version {version} pass the gate {gate}", _waive),
        "drift": Verb("settle-drift", "End the drift of aliases: {how}", _drift),
    }
)


def do_errand(settings: "Settings", home: "Home", errand_id: str) -> dict[str, Any]:
    """Do a queued errand, or one that was interrupted or has failed, again from its beginning.

    Returns:
        The job in its JSON form; ``detail.result`` is what the action returned, ``detail.steps`` what it said.

    Raises:
        NotFound: There is no such errand, or it names an action that does not exist.
        Conflict: Another process does it, or it has ended.
        BackbeatError: Whatever the action refuses; the job's row has it too.
    """
    from contracts.database import Database
    from contracts.job_run import JobRun
    from contracts.jobs import describe_job, find_job

    database = Database(settings, home)
    try:
        with JobRun(database, errand_id) as run:
            asked = run.parameters
            if asked["verb"] not in VERBS:
                raise unknown_name("action", asked["verb"], VERBS, next_step="start it from a page of this version's")
            errand = Errand(settings, home, run.snapshot, asked["arguments"], asked["actor"])
            with redirect_stderr(_Steps(run)):  # what a command would say there
                result = VERBS[asked["verb"]].run(errand)
            told = result.as_dict() if hasattr(result, "as_dict") else result
            if is_dataclass(told) and not isinstance(told, type):
                told = asdict(told)
            run.detail["result"] = json.loads(json.dumps(told, default=str))
            run.save({}, done=1, total=1, rows=0)
        return describe_job(find_job(database, run.id))
    finally:
        database.close()


class _Steps(io.TextIOBase):
    """A stream whose lines become the steps of a job."""

    def __init__(self, run: "JobRun") -> None:
        self._run = run
        run.detail["steps"] = []

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip() and len(self._run.detail["steps"]) < _MOST_STEPS:
                self._run.detail["steps"].append({"at": utc_now().isoformat(), "text": line.strip()[:300]})
                self._run.save({}, done=0, total=1, rows=0)
        return len(text)


def main(arguments: Sequence[str]) -> int:
    """Do one errand; returns the exit code."""
    return answer_as_module(
        "python -m registry.errand ID", arguments, lambda settings, home, given: do_errand(settings, home, given[0])
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
