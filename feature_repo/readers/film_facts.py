"""What is stated of films, as vectors: genres, the rating of their audience, the year."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.embeddings import EmbeddingSpec

__all__ = ["FilmFacts", "facts_of_films"]

_YEARS = (1920, 1930, 1940, 1950, 1960, 1970, 1980, 1985, 1990, 1995, 2000)
"""A year between two of these is part of both."""

_PREPROCESSING = (
    f"genres; rating; year, shared by its neighbours of {', '.join(map(str, _YEARS))}; each brought to length 1"
)


@dataclass(frozen=True)
class FilmFacts:
    """What is stated of a film."""

    genres: frozenset[str]
    rating: str | None = None
    """Who may see it, such as ``PG-13``."""
    year: int | None = None


def facts_of_films(films: Sequence[FilmFacts]) -> tuple[npt.NDArray[np.float32], EmbeddingSpec]:
    """One component for each genre and rating that any film has, and for each of some years.

    Args:
        films: n of them.

    Returns:
        Vectors ``[n, width]``, in which each of the three parts has length 1, or 0 where it is not stated; and their
        spec.
    """
    genres = _marks([film.genres for film in films])
    ratings = _marks([frozenset([film.rating]) if film.rating else frozenset() for film in films])
    years = np.zeros((len(films), len(_YEARS)), np.float32)
    for row, film in enumerate(films):
        if film.year is not None:
            years[row] = [np.interp(film.year, _YEARS, mark) for mark in np.eye(len(_YEARS))]
    matrix = np.concatenate([_unit(part) for part in (genres, ratings, years)], axis=1)
    spec = EmbeddingSpec(
        modality="textual_handcrafted",
        encoder="film-facts",
        revision="1",
        preprocessing=_PREPROCESSING,
        width=matrix.shape[1],
        dtype="float32",
        normalisation="none",
    )
    return matrix, spec


def _marks(sets: Sequence[frozenset[str]]) -> npt.NDArray[np.float32]:
    """A column of zeros and ones for each name, in order of the names."""
    names = {name: column for column, name in enumerate(sorted(frozenset().union(*sets)))}
    marks = np.zeros((len(sets), len(names)), np.float32)
    for row, some in enumerate(sets):
        marks[row, [names[name] for name in some]] = 1
    return marks


def _unit(part: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(part, axis=1, keepdims=True)
    return (part / np.where(lengths > 0, lengths, 1)).astype(np.float32)
