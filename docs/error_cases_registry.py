"""The bad inputs of ``docs/errors.md`` that the registry, its pages and its accounts meet."""

import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from docs.workshop import Case, Outcome, Workshop, typed

__all__ = ["REGISTRY_CASES"]


def _registry(workshop: Workshop) -> str:
    """A home with one version, which is champion; made once."""
    home = workshop.root / "registry"
    if not home.exists():
        for words in (
            ("ingest", "mmssl", "good"),
            ("features", "apply"),
            ("validate", "run"),
            ("train", "popularity"),
            ("models", "promote", "1", "--to", "champion", "--reason", "first"),
        ):
            if (made := workshop.command(*words, BACKBEAT_HOME=str(home))).exit_code != 0:
                raise RuntimeError(f"{words}: {made.message}")
    return str(home)


def _in_registry(*words: str) -> Callable[[Workshop], tuple[str, Outcome]]:
    def run(workshop: Workshop) -> tuple[str, Outcome]:
        return shlex.join(("backbeat", *words)), workshop.command(*words, BACKBEAT_HOME=_registry(workshop))

    return run


def _altered_package(workshop: Workshop) -> tuple[str, Outcome]:
    home = Path(_registry(workshop))
    (golden,) = (home / "artifacts").rglob("package/golden.json")
    whole = golden.read_bytes()
    golden.write_bytes(whole + b" ")
    try:
        retired = ("models", "retire", "champion", "--reason", "to be promoted again")
        if (made := workshop.command(*retired, BACKBEAT_HOME=str(home))).exit_code != 0:
            raise RuntimeError(made.message)
        words = ("models", "promote", "1", "--to", "champion", "--reason", "again")
        return shlex.join(("backbeat", *words)), workshop.command(*words, BACKBEAT_HOME=str(home))
    finally:
        golden.write_bytes(whole)
        words = ("models", "promote", "1", "--to", "champion", "--reason", "first")
        workshop.command(*words, BACKBEAT_HOME=str(home))


def _drifted(workshop: Workshop) -> tuple[str, Outcome]:
    home = _registry(workshop)
    with closing(sqlite3.connect(Path(home) / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE registered_model_aliases SET alias = 'challenger' WHERE alias = 'champion'")
    try:
        return _in_registry("models", "retire", "1", "--reason", "old")(workshop)
    finally:
        with closing(sqlite3.connect(Path(home) / "mlflow.db")) as connection, connection:
            connection.execute("UPDATE registered_model_aliases SET alias = 'champion' WHERE alias = 'challenger'")


_PROVIDER = "https://login.example.org"


def _provided(
    host: str, issuer: str = _PROVIDER, roles: str = "ml=viewer"
) -> Callable[[Workshop], tuple[str, Outcome]]:
    def run(workshop: Workshop) -> tuple[str, Outcome]:
        home = _registry(workshop)
        words = ("ui", "--host", host)
        outcome = workshop.command(*words, BACKBEAT_HOME=home, BACKBEAT_OIDC_ISSUER=issuer, BACKBEAT_OIDC_ROLES=roles)
        set_before = f"BACKBEAT_OIDC_ISSUER={issuer} BACKBEAT_OIDC_ROLES={roles} "
        return set_before + shlex.join(("backbeat", *words)), outcome

    return run


def _unsigned_webhook(workshop: Workshop) -> tuple[str, Outcome]:
    url = "https://hooks.example.org/backbeat"
    words = ("models", "list")
    return f"BACKBEAT_WEBHOOK_URL={url} backbeat models list", workshop.command(*words, BACKBEAT_WEBHOOK_URL=url)


def _policy(text: str) -> Callable[[Workshop], tuple[str, Outcome]]:
    """A policy file in the home, for one command."""

    def run(workshop: Workshop) -> tuple[str, Outcome]:
        own = workshop.home.root / "policy.toml"
        own.write_text(text)
        try:
            return "backbeat models policy", workshop.command("models", "policy")
        finally:
            own.unlink()

    return run


REGISTRY_CASES = (
    Case(
        "A surface that there is not",
        typed("models", "promote", "1", "--to", "champion", "--reason", "x", "--surface", "radio"),
    ),
    Case("A state that nobody promotes to", typed("models", "promote", "best", "--to", "chmpion", "--reason", "x")),
    Case("A move without a reason", typed("models", "retire", "1", "--reason", " ")),
    Case("A package that is none", _in_registry("models", "register", "nowhere")),
    Case("An unknown version", _in_registry("models", "promote", "9", "--to", "champion", "--reason", "x")),
    Case("The champion as shadow", _in_registry("models", "promote", "champion", "--to", "shadow", "--reason", "x")),
    Case("A rollback where there was no champion before", _in_registry("models", "rollback", "--reason", "complaints")),
    Case("A package that somebody has altered", _altered_package, exit_code=4),
    Case("An alias that somebody moved in MLflow itself", _drifted),
    Case("Drift where there is none", _in_registry("models", "drift", "--revert", "nobody was asked")),
    Case("Drift accepted and reverted at once", typed("models", "drift", "--accept", "fine", "--revert", "not fine")),
    Case("An unknown request", typed("models", "approve", "nosuchrequest", "--reason", "looked at it")),
    Case("A state that requests do not have", typed("models", "requests", "--state", "opne")),
    Case(
        "A gate that may not be waived", typed("models", "waive", "1", "--gate", "pakage", "--reason", "looked at it")
    ),
    Case(
        "A waiver without an end",
        typed("models", "waive", "1", "--gate", "latency", "--days", "10000", "--reason", "looked at it"),
    ),
    Case("The champion at no moment", typed("models", "audit", "--at", "yesterday")),
    Case("What depends on nothing", typed("models", "dependents")),
    Case("A webhook without a secret", _unsigned_webhook),
    Case("A policy with an unknown gate", _policy('[every.moves.champion]\ngates = ["package", "qualty"]\n')),
    Case("A policy with an unknown key", _policy("[every.offline]\nmargn = 0.1\n")),
    Case("A policy with a limit that is no number", _policy("[every.latency]\np99_ms = nan\n")),
    Case("The rules of an unknown surface", typed("models", "policy", "--surface", "radio")),
    Case("A version compared with itself", _in_registry("models", "compare", "1", "1")),
    Case("The registry's pages for others without an account", _in_registry("ui", "--host", "0.0.0.0")),
    Case("The registry's pages on all addresses, by no name", _provided("0.0.0.0")),
    Case("The registry's pages at an address of another machine", _provided("192.0.2.1")),
    Case("An identity provider without https", _provided("127.0.0.1", issuer="http://login.example.org")),
    Case("Roles that nobody has", _provided("127.0.0.1", roles="ml=boss")),
    Case("An account with an unknown role", _in_registry("users", "add", "ada", "--role", "boss")),
    Case("An account that there is not", _in_registry("users", "role", "ada", "admin")),
    Case("A token that may do something unheard of", _in_registry("users", "token", "ada", "--permission", "fly")),
    Case("A token that hardly ever expires", _in_registry("users", "token", "ada", "--days", "10000")),
    Case("A token that there is not", _in_registry("users", "token", "ada", "--revoke", "00000000")),
)
