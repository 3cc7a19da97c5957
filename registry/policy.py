"""The promotion policy: which gates guard which move of which surface, read from typed files."""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contracts.errors import BadInput, NotFound, unknown_name
from contracts.home import Home
from contracts.settings import Settings
from contracts.surfaces import SURFACES
from registry.thresholds import SurfacePolicy

__all__ = ["POLICY_FILE", "Policy", "load_policy"]

POLICY_FILE = "policy.toml"
"""Name of the file, here and in a home."""

_SHIPPED = Path(__file__).parent / POLICY_FILE

_PROFILES = ("local", "production")
_NEXT = "correct it; `backbeat models policy` shows all keys with the values that hold"


@dataclass(frozen=True)
class Policy:
    """The rules of every surface."""

    surfaces: Mapping[str, SurfacePolicy]
    profile: str
    source: Path | None
    """The file that overrides what is shipped; None where nothing does."""

    def of(self, surface: str) -> SurfacePolicy:
        """The rules of a surface.

        Raises:
            NotFound: There is no surface of that name.
        """
        if surface not in self.surfaces:
            raise unknown_name("surface", surface, self.surfaces, next_step="choose one of these")
        return self.surfaces[surface]

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name these rules."""
        document = {name: each.model_dump(mode="json", by_alias=True) for name, each in self.surfaces.items()}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]


def load_policy(settings: Settings, home: Home) -> Policy:
    """Read the shipped policy, and over it the home's or the one the settings name.

    Args:
        settings: Name the profile, and a policy file where there is one.
        home: May hold a ``policy.toml``.

    Raises:
        NotFound: The file that the settings name is not there.
        BadInput: A file is no TOML, or has a key, a gate or a value that is not allowed.
    """
    shipped = tomllib.loads(_SHIPPED.read_text(encoding="utf-8"))
    source = _own_file(settings, home)
    own = {} if source is None else _read(source)
    subject = f"policy {source or 'as shipped'}"
    for document in (shipped, own):
        _require_shape(subject, document)
    return Policy(
        {name: _surface(subject, name, (shipped, own), settings.profile) for name in SURFACES},
        settings.profile,
        source,
    )


def _own_file(settings: Settings, home: Home) -> Path | None:
    if settings.policy_file is None:
        path = home.root / POLICY_FILE
        return path if path.is_file() else None
    if not settings.policy_file.is_file():
        raise NotFound(
            f"setting BACKBEAT_POLICY_FILE, {settings.policy_file}",
            found="no such file",
            expected="a policy in TOML",
            next_step="correct or unset BACKBEAT_POLICY_FILE",
        )
    return settings.policy_file


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"policy {path}", found=str(error), expected="TOML", next_step=_NEXT) from None


def _require_shape(subject: str, document: Mapping[str, Any]) -> None:
    """Refuse keys that no surface would ever look up."""
    _require_keys(subject, "", document, ("every", "surfaces", "profiles"))
    profiles = document.get("profiles", {})
    _require_keys(subject, "profiles", profiles, _PROFILES)
    for where, part in (("", document), *((f"profiles.{name}", part) for name, part in profiles.items())):
        if where:
            _require_keys(subject, where, part, ("every", "surfaces"))
        surfaces = part.get("surfaces", {})
        _require_keys(subject, f"{where}.surfaces".lstrip("."), surfaces, SURFACES)
        _require_table(subject, f"{where}.every".lstrip("."), part.get("every", {}))
        for name, own in surfaces.items():
            _require_table(subject, f"{where}.surfaces.{name}".lstrip("."), own)


def _require_table(subject: str, where: str, part: Any) -> None:
    if not isinstance(part, Mapping):
        raise BadInput(f"{subject}: {where}", found=repr(part), expected="a table", next_step=_NEXT)


def _require_keys(subject: str, where: str, part: Any, allowed: Any) -> None:
    _require_table(subject, where, part)
    for key in part:
        if key not in allowed:
            path = f"{where}.{key}".lstrip(".")
            raise BadInput(
                f"{subject}: {path}",
                found=f"unknown key {key!r}",
                expected=f"one of {', '.join(allowed)}",
                next_step=_NEXT,
            )


def _surface(subject: str, surface: str, documents: tuple[Mapping[str, Any], ...], profile: str) -> SurfacePolicy:
    merged: dict[str, Any] = {}
    for layer in _layers(surface, documents, profile):
        merged = _laid_over(merged, layer)
    try:
        # Strict, and so by way of JSON, which has no tuples either.
        return SurfacePolicy.model_validate_json(json.dumps(merged, default=str), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]")
        found = "unknown key" if first["type"] == "extra_forbidden" else repr(first.get("input"))
        expected = first["msg"][0].lower() + first["msg"][1:]
        if first["type"] == "extra_forbidden":
            expected = "a key that `backbeat models policy` shows"
        raise BadInput(
            f"{subject}, surface {surface}: {where or 'the table'}",
            found=found[:200],
            expected=expected,
            next_step=_NEXT,
        ) from None


def _layers(surface: str, documents: tuple[Mapping[str, Any], ...], profile: str) -> Iterator[Any]:
    for document in documents:
        for part in (document, document.get("profiles", {}).get(profile, {})):
            yield part.get("every", {})
            yield part.get("surfaces", {}).get(surface, {})


def _laid_over(below: Any, above: Any) -> Any:
    """Tables are merged, everything else is replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: _laid_over(below.get(key), value) for key, value in above.items()}}
    return above
