"""The platform's one error tree.

Every error names the object, the value found, the value expected and the next step, carries the exit code
of the command line and the HTTP status of the service, and has one JSON form.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar

__all__ = [
    "ApprovalMissing",
    "BackbeatError",
    "BadInput",
    "Conflict",
    "GateRefused",
    "HomeBusy",
    "HomeTooNew",
    "ItemsSkipped",
    "NotFound",
    "NotPermitted",
    "NotSignedIn",
    "RequestRefused",
    "ServiceUnavailable",
    "StillWaiting",
    "StorageFull",
    "TooManyAttempts",
    "TrainingDiverged",
    "ValidationFailed",
    "unknown_name",
]


class BackbeatError(Exception):
    """Root of the tree.

    Args:
        subject: The object at fault: a file, a table, a model version, an option.
        found: The value that was found.
        expected: The value that is allowed.
        next_step: What to do now, a command where there is one.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    code: ClassVar[str] = "error"

    def __init__(self, subject: object, *, found: object, expected: object, next_step: str) -> None:
        self.subject = str(subject)
        self.found = str(found)
        self.expected = str(expected)
        self.next_step = next_step
        super().__init__(self.subject)

    def __str__(self) -> str:
        return f"{self.subject}: found {self.found}; expected {self.expected}. Next: {self.next_step}"

    def as_dict(self) -> dict[str, dict[str, str]]:
        """The JSON form, the same in the command line, the UI and the service."""
        return {
            "error": {
                "code": self.code,
                "subject": self.subject,
                "found": self.found,
                "expected": self.expected,
                "next": self.next_step,
            }
        }


class BadInput(BackbeatError):
    """What the user gave cannot be used; nothing was changed."""

    exit_code = 2
    http_status = 400
    code = "bad_input"


class NotFound(BadInput):
    """A file, name, version or row that does not exist."""

    http_status = 404
    code = "not_found"


class Conflict(BadInput):
    """The request is fine but the state has moved on."""

    http_status = 409
    code = "conflict"


class NotSignedIn(BadInput):
    """Nobody is known to have asked."""

    http_status = 401
    code = "not_signed_in"


class NotPermitted(BadInput):
    """Whoever asked may not do this."""

    http_status = 403
    code = "not_permitted"


class TooManyAttempts(BadInput):
    """Asked too often; later it may be asked again."""

    http_status = 429
    code = "too_many_attempts"


class HomeBusy(Conflict):
    """Another command is writing this home."""

    code = "home_busy"


class HomeTooNew(BadInput):
    """The home was written by a newer version of Backbeat."""

    http_status = 409
    code = "home_too_new"


class StorageFull(BadInput):
    """The disk ran out of space; what was being written has been removed."""

    http_status = 507
    code = "storage_full"


class ValidationFailed(BackbeatError):
    """A data snapshot did not pass its suites, or was never judged."""

    exit_code = 3
    http_status = 409
    code = "validation_failed"


class GateRefused(BackbeatError):
    """One or more promotion gates said no."""

    exit_code = 4
    http_status = 409
    code = "gate_refused"


class ApprovalMissing(GateRefused):
    """Every gate says yes but that of approval: somebody has to be asked."""

    code = "approval_missing"


class TrainingDiverged(BackbeatError):
    """A loss term, a weight or a score became NaN or infinite."""

    exit_code = 5
    http_status = 500
    code = "training_diverged"


class ServiceUnavailable(BackbeatError):
    """A server this command needs does not answer."""

    exit_code = 6
    http_status = 503
    code = "service_unavailable"


class ItemsSkipped(BackbeatError):
    """The work is done but for items that could not be read; they are recorded."""

    exit_code = 7
    http_status = 422
    code = "items_skipped"


class RequestRefused(BackbeatError):
    """A request that was waited for was rejected or withdrawn."""

    exit_code = 8
    http_status = 409
    code = "request_refused"


class StillWaiting(BackbeatError):
    """A request that was waited for is undecided yet."""

    exit_code = 9
    http_status = 504
    code = "still_waiting"


def unknown_name(kind: str, name: str, known: Iterable[str], *, next_step: str) -> NotFound:
    """Error for a name that is not in a registry of names, with the nearest known ones first.

    Args:
        kind: What is named, e.g. ``"model"``.
        name: The unknown name.
        known: All names that would be accepted.
        next_step: The command that lists or fixes it.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    expected = f"one of {', '.join(names)}" if names else "none is known yet"
    if near:
        expected = f"{' or '.join(repr(n) for n in near)} (all: {', '.join(names)})"
    return NotFound(f"{kind} {name!r}", found=f"no {kind} of that name", expected=expected, next_step=next_step)
