"""Training word vectors on a data set's own texts, for the encoder ``word2vec``."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import BadInput
from feature_repo.encoders.tokens import Tokenizer, normalised
from feature_repo.encoders.word2vec import WordVectors, common_component, sif_means

__all__ = ["corpus_of", "train_word_vectors"]

_WIDTH = 200
_SMOOTHING = 1e-3


def corpus_of(table: pa.Table, column: str, until: datetime | None = None) -> tuple[list[str], datetime]:
    """Texts of a table that were known by an instant, in the order in which they became known.

    Args:
        table: With ``column``, ``event_time`` and ``ingested_at``; equal texts at equal instants in any order.
        column: Of the texts.
        until: Later ones are left out; None for all.

    Returns:
        The texts, and when the newest of them was known.

    Raises:
        BadInput: There is none.
    """
    happened, arrived = table["event_time"], table["ingested_at"]
    known = pc.if_else(pc.greater(happened, arrived), happened, arrived)
    rows = pa.table({"text": table[column], "known": known}).filter(pc.is_valid(pc.field("text")))
    if until is not None:
        rows = rows.filter(pc.field("known") <= pa.scalar(until, known.type))
    if not len(rows):
        raise BadInput(
            "the corpus",
            found="no text" if until is None else f"no text known by {until.isoformat()}",
            expected="texts to train word vectors on",
            next_step="ingest data with texts, or give a later instant",
        )
    rows = rows.sort_by([("known", "ascending"), ("text", "ascending")])
    return rows["text"].to_pylist(), rows["known"][-1].as_py()


def train_word_vectors(
    texts: Sequence[str],
    known_until: datetime,
    *,
    seed: int,
    width: int = _WIDTH,
    epochs: int = 5,
    least_count: int = 5,
    window: int = 5,
    smoothing: float = _SMOOTHING,
) -> WordVectors:
    """Train skip-gram vectors with negative sampling, on one thread: equal texts and seeds give equal vectors.

    Args:
        texts: The corpus; the order matters.
        known_until: When the newest of them was known.
        seed: Of the initial vectors and the sampling.
        width: Components.
        epochs: Passes over the corpus.
        least_count: Rarer words are left out.
        window: Words on either side that count as context.
        smoothing: The parameter a of SIF; the default is its authors'.

    Raises:
        BadInput: No word is frequent enough.
    """
    from gensim.models import Word2Vec

    if known_until.tzinfo is None:
        raise BadInput(
            "known_until", found="a moment without a time zone", expected="an aware one", next_step="give it in UTC"
        )
    split = Tokenizer()
    corpus = [words for words in (split(normalised(text)) for text in texts) if words]
    model = Word2Vec(
        vector_size=width, window=window, min_count=least_count, sg=1, negative=5, workers=1, seed=seed, epochs=epochs
    )
    model.build_vocab(corpus)
    if not model.wv.index_to_key:
        raise BadInput(
            f"a corpus of {len(texts):,} texts",
            found=f"no word that occurs {least_count} times",
            expected="at least one",
            next_step="give more texts, or a lower least count",
        )
    model.train(corpus, total_examples=model.corpus_count, epochs=epochs)
    bare = WordVectors(
        words=tuple(model.wv.index_to_key),
        counts=np.array([model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key], np.int64),
        vectors=np.asarray(model.wv.vectors, np.float32),
        total=sum(map(len, corpus)),
        common=np.zeros(width, np.float32),
        smoothing=smoothing,
        known_until=known_until.astimezone(UTC),
    )
    means, known = sif_means(bare, corpus)
    return WordVectors(
        bare.words,
        bare.counts,
        bare.vectors,
        bare.total,
        common_component(means[known > 0]),
        smoothing,
        bare.known_until,
    )
