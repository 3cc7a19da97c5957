"""`backbeat features train-words`: word vectors of the data set's own texts, for the encoder word2vec."""

from pathlib import Path
from typing import Annotated

import typer

from contracts.options import HomeOption, JsonOption

__all__ = ["train_words"]


def train_words(
    directory: Annotated[Path, typer.Argument(help="New directory to write the word vectors to.")],
    entity: Annotated[str, typer.Option(help="Whose texts: post or video.")] = "post",
    until: Annotated[str | None, typer.Option(help="Leave out texts that became known later.")] = None,
    width: Annotated[int, typer.Option(min=1, help="Components of a vector.")] = 200,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the texts.")] = 5,
    least_count: Annotated[int, typer.Option(min=1, help="Rarer words are left out.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the initial vectors and the sampling.")] = 0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train word vectors. Example: `backbeat features train-words words --until 2026-01-31T00:00:00+00:00`

    Then `backbeat features encode word2vec --weights words`; no vector counts as known before the newest of the texts.
    """
    from contracts.clock import parse_instant
    from contracts.console import emit
    from contracts.errors import NotFound, unknown_name
    from contracts.opening import open_home

    columns = {"post": ("posts", "text"), "video": ("videos", "title")}
    if entity not in columns:
        raise unknown_name("entity with texts", entity, columns, next_step="give one of them as --entity")
    name, column = columns[entity]
    moment = None if until is None else parse_instant(until, "option --until")
    _, place = open_home(home)

    from feature_repo.encoders.word2vec import require_new_directory
    from feature_repo.encoders.word_training import corpus_of, train_word_vectors
    from feature_repo.offline import current_snapshot, read_table

    require_new_directory(directory)
    snapshot = current_snapshot(place)
    if name not in snapshot.tables:
        raise NotFound(
            f"table {name!r} of snapshot {snapshot.id}",
            found="none",
            expected=f"a data set with {name}",
            next_step="ingest one, or choose another --entity",
        )
    table = read_table(place, snapshot, name, [column, "event_time", "ingested_at"])
    texts, known_until = corpus_of(table, column, moment)
    words = train_word_vectors(texts, known_until, seed=seed, width=width, epochs=epochs, least_count=least_count)
    words.save(directory)
    document = {
        "directory": str(directory),
        "snapshot": snapshot.id,
        "texts": len(texts),
        "words": len(words.words),
        "width": width,
        "revision": words.revision,
        "available_from": words.known_until.isoformat(),
    }
    text = (
        f"{len(words.words):,} words of {len(texts):,} texts: {directory}\n"
        f"  revision        {words.revision}\n"
        f"  available from  {words.known_until.isoformat()}\n"
        f"Next: backbeat features encode word2vec --entity {entity} --weights {directory}\n"
    )
    emit(document, as_json=as_json, text=text)
