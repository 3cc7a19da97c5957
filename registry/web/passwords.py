"""Passwords: what is accepted, how they are kept, how they are compared."""

import functools
from typing import TYPE_CHECKING, Final

from contracts.errors import BadInput

if TYPE_CHECKING:
    from argon2 import PasswordHasher

__all__ = ["LONGEST", "SHORTEST", "hash_password", "password_matches", "require_good_password"]

SHORTEST: Final = 12
"""Characters. Length is what makes a password hard to guess; no other rule is asked."""

LONGEST: Final = 256

_DUMMY: Final = "a password that nobody has"


@functools.cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher()  # Argon2id with the parameters of RFC 9106 for small memories


@functools.cache
def _dummy_hash() -> str:
    return _hasher().hash(_DUMMY)


def require_good_password(password: str, name: str) -> None:
    """Refuse a password that is too easy to guess.

    Raises:
        BadInput: It is too short or too long, or is the account's name.
    """
    found = None
    if not SHORTEST <= len(password) <= LONGEST:
        found = f"{len(password)} characters"
    elif name.lower() in password.lower() and len(password) < len(name) + SHORTEST:
        found = "the account's name with a little beside it"
    elif len(set(password)) < 5:
        found = "hardly any different characters"
    if found:
        raise BadInput(
            f"password of {name}",
            found=found,
            expected=f"{SHORTEST} to {LONGEST} characters that others cannot guess",
            next_step="choose another one; a few unrelated words are good",
        )


def hash_password(password: str) -> str:
    """An Argon2id hash with its salt and parameters."""
    return _hasher().hash(password)


def password_matches(stored: str | None, password: str) -> bool:
    """Whether a password is the stored one; takes equally long where nothing is stored, so that names stay unknown."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(stored or _dummy_hash(), password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False
