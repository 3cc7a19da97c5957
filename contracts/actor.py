"""Who is at the keyboard, for the audit log."""

import getpass
import os

__all__ = ["current_actor"]


def current_actor() -> str:
    """The name of the user of this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a number that has no name.
        return f"user {os.getuid()}"
