"""The rule of an experiment, from a file and from single values."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contracts.errors import BadInput, NotFound
from contracts.experiments import Mode, default_rule
from contracts.verdict import Rule

__all__ = ["given_rule"]


def given_rule(mode: Mode, file: Path | None = None, **values: object) -> Rule:
    """A mode's own rule, with what a file says in its place, and with what is said singly in the place of that.

    Args:
        mode: Of the experiment.
        file: TOML with fields of :class:`contracts.verdict.Rule`.
        **values: Fields of it; None where they are not given.

    Raises:
        NotFound: There is no such file.
        BadInput: It is no TOML, or the rule has a field or value that is not allowed.
    """
    found: dict[str, Any] = default_rule(mode).model_dump()
    if file is not None:
        found |= _read(file)
    found |= {name: value for name, value in values.items() if value is not None}
    try:
        return Rule.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise BadInput(
            f"rule of an experiment{f', {field}' if field else ''}",
            found=f"{first['input']!r:.200}",
            expected=first["msg"].removeprefix("Value error, "),
            next_step="correct the rule file or the option; `backbeat ab start --help` names the fields",
        ) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(
            f"rule file {file}",
            found="nothing there",
            expected='a TOML file such as: objective = "ctr"',
            next_step="correct --rule, or leave it out for the mode's own rule",
        ) from None
    except (OSError, ValueError) as error:
        raise BadInput(
            f"rule file {file}",
            found=str(error).splitlines()[0],
            expected="TOML with the fields of a rule",
            next_step="correct the file",
        ) from None
