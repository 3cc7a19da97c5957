"""Matching films by their titles, as two catalogues spell them."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Film", "match_titles"]

_YEAR = re.compile(r"^(.*?)\s*\((\d{4})\)\s*$")
_ARTICLE = re.compile(r"^(.*), (the|a|an|la|le|les|il|l'|das|der|die|el|los|las|un|une|lo|i|o|os|det|den|en|ein|eine)$")
_ALSO_KNOWN_AS = re.compile(r"^a\.?k\.?a\.?:?\s*")

Keys = Iterable[tuple[str, int]]


@dataclass(frozen=True)
class Film:
    """A title such as ``Postman, The (Postino, Il) (1994)``, and the same film's name in a third catalogue."""

    title: str
    other: tuple[str, int] | None = None
    """Name and year elsewhere."""

    @property
    def year(self) -> int:
        """The year at its end; 0 where there is none."""
        found = _YEAR.match(self.title)
        return int(found[2]) if found else 0

    @property
    def whole(self) -> str:
        """The title without its year, in plain letters."""
        found = _YEAR.match(self.title)
        return _plain(found[1] if found else self.title)

    @property
    def names(self) -> set[str]:
        """What stands before the brackets, and in each of them, in plain letters."""
        found = _YEAR.match(self.title)
        name = found[1] if found else self.title
        others = [_ALSO_KNOWN_AS.sub("", other) for other in re.findall(r"\(([^()]*)\)", name)]
        return {plain for part in (name.partition(" (")[0], *others) if (plain := _plain(part))}


def match_titles(wanted: Mapping[str, Film], known: Mapping[str, Film]) -> tuple[dict[str, str], dict[str, int]]:
    """Find each wanted film among the known ones.

    Rules are tried one after the other, from the strictest: the same title; the same but for case, accents, punctuation
    and the place of the article; one of its names and the year; the name in the third catalogue and the year; one of
    its names and a year that differs by one. A rule counts only where it pairs one film with one film.

    Args:
        wanted: Id → film.
        known: Id → film.

    Returns:
        Wanted id → known id, and how many films each rule matched.
    """
    rules: dict[str, tuple[Callable[[Film], Keys], Callable[[Film], Keys]]] = {
        "same title": (lambda film: [(film.title, 0)], lambda film: [(film.title, 0)]),
        "same letters": (lambda film: [(film.whole, film.year)], lambda film: [(film.whole, film.year)]),
        "a name and the year": (_names, _names),
        "a name elsewhere": (_names, lambda film: [(_plain(film.other[0]), film.other[1])] if film.other else []),
        "a name, a year beside": (
            lambda film: [(name, year + d) for name, year in _names(film) for d in (-1, 0, 1)],
            _names,
        ),
    }
    left, free, matched, counts = dict(wanted), dict(known), {}, {}
    for rule, (wanted_keys, known_keys) in rules.items():
        found = _pairs(
            {film: set(wanted_keys(content)) for film, content in left.items()},
            {film: set(known_keys(content)) for film, content in free.items()},
        )
        for film, other in found.items():
            matched[film] = other
            del left[film], free[other]
        counts[rule] = len(found)
    return matched, counts


def _pairs(wanted: Mapping[str, set[tuple[str, int]]], known: Mapping[str, set[tuple[str, int]]]) -> dict[str, str]:
    """Who shares a key with whom, where both have no other choice."""
    having = defaultdict(set)
    for film, keys in known.items():
        for key in keys:
            having[key].add(film)
    choices = {film: set().union(*(having.get(key, set()) for key in keys)) for film, keys in wanted.items()}
    sought = Counter(other for others in choices.values() for other in others)
    single = {film: next(iter(others)) for film, others in choices.items() if len(others) == 1}
    return {film: other for film, other in single.items() if sought[other] == 1}


def _names(film: Film) -> list[tuple[str, int]]:
    return [(name, film.year) for name in film.names]


def _plain(text: str) -> str:
    """Lower-case ASCII letters and digits only, the article in front."""
    bare = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower().replace("&", "and").strip()
    article = _ARTICLE.match(bare)
    return re.sub(r"[^a-z0-9]", "", f"{article[2]} {article[1]}" if article else bare)
