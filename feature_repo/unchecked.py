"""Feast without the checks of types that it makes at run time."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

__all__ = ["load_feast_unchecked"]


class _BeforeFeast(MetaPathFinder):
    """Finds nothing; takes typeguard's decorator out of Feast's way when that is about to load."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == "feast":
            sys.meta_path.remove(self)
            import typeguard

            setattr(typeguard, "typechecked", _as_it_is)  # noqa: B010 - mypy knows its overloads


def _as_it_is(target: Callable[..., Any] | None = None, **_: object) -> Callable[..., Any]:
    return _as_it_is if target is None else target


def load_feast_unchecked() -> None:
    """See that Feast, whenever it is first imported, keeps its functions as they are written.

    typeguard writes each of them anew at every start, which is half of the time that Feast takes to load, and then
    costs each call of them again. mypy checks what we hand to them. A process that has loaded Feast before keeps it as
    it is, and one that loads it hereafter has no typeguard in other code that it loads later.
    """
    if "feast" not in sys.modules and not any(isinstance(each, _BeforeFeast) for each in sys.meta_path):
        sys.meta_path.insert(0, _BeforeFeast())
