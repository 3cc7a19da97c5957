"""How whatever changes the registry begins and ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from contracts.errors import BadInput
from contracts.home import Home
from contracts.settings import Settings
from registry.opening import Registry, open_registry
from registry.outbox import resume_moves
from registry.webhook import start_sending

__all__ = ["given_reason", "writing_registry"]


@contextmanager
def writing_registry(settings: Settings, home: Home) -> Iterator[Registry]:
    """Both databases for a block that changes them: moves that a dead process left are ended first, and what the block
    has to tell the webhook is sent afterwards.

    Args:
        settings: The process's settings.
        home: Whose registry.

    Raises:
        BadInput: This process may not write the home.
    """
    if settings.profile == "local":
        home.require_writable()
    with open_registry(settings, home) as registry:
        resume_moves(registry)
        try:
            yield registry
        finally:
            start_sending(settings, registry.database)


def given_reason(reason: str) -> str:
    """A reason without the spaces around it.

    Raises:
        BadInput: There is none.
    """
    if not reason.strip():
        raise BadInput(
            "reason of a move",
            found="nothing",
            expected="a few words that the audit log will keep",
            next_step='repeat the command with --reason "..."',
        )
    return reason.strip()
