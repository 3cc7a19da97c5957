"""Word2Vec word vectors (Mikolov et al., 2013), joined into vectors of texts by SIF (Arora, Liang and Ma, 2017).

AMAE, section III-B: 200 components, trained on the data set's own corpus. A text's vector is the mean of its words'
vectors, each weighted by a / (a + p(w)) with p(w) the word's share of the corpus, less its projection on the first
common component: the first right singular vector of the corpus's own weighted means.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.files import directory_written_whole
from feature_repo.encoders.encoding import EncoderOptions, Entity, Fault, MediaItem, Vectors
from feature_repo.encoders.tokens import Tokenizer, normalised

__all__ = [
    "Word2VecEncoding",
    "WordVectors",
    "common_component",
    "read_word_vectors",
    "require_new_directory",
    "sif_means",
]

_FORMAT = 1

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WordVectors:
    """What training leaves."""

    words: tuple[str, ...]
    """The vocabulary, most frequent first."""
    counts: npt.NDArray[np.int64]
    """How often each occurs in the corpus, ``[n]``."""
    vectors: Floats
    """``[n, width]``."""
    total: int
    """Words of the corpus, those that are too rare for the vocabulary among them."""
    common: Floats
    """The first common component, ``[width]``, of length 1; zeros before it is known."""
    smoothing: float
    """The parameter a."""
    known_until: datetime
    """When the newest text of the corpus was known: no vector can have been made before."""

    @cached_property
    def weights(self) -> npt.NDArray[np.float64]:
        """a / (a + p(w)) of each word, ``[n]``."""
        return np.asarray(self.smoothing / (self.smoothing + self.counts / self.total), np.float64)

    @cached_property
    def index(self) -> dict[str, int]:
        """Word → row."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def revision(self) -> str:
        """Twelve hexadecimal digits of everything that a vector depends on."""
        head = json.dumps([_FORMAT, self.words, self.total, self.smoothing], ensure_ascii=False)
        digest = hashlib.sha256(head.encode())
        for array in (self.counts.astype("<i8"), self.vectors.astype("<f4"), self.common.astype("<f4")):
            digest.update(array.tobytes())
        return digest.hexdigest()[:12]

    def save(self, directory: Path) -> None:
        """Write ``vectors.npy``, ``counts.npy``, ``common.npy`` and ``vocabulary.json`` as a new directory.

        Raises:
            BadInput: It exists.
        """
        require_new_directory(directory)
        with directory_written_whole(directory) as scratch:
            np.save(scratch / "vectors.npy", self.vectors, allow_pickle=False)
            np.save(scratch / "counts.npy", self.counts, allow_pickle=False)
            np.save(scratch / "common.npy", self.common, allow_pickle=False)
            head = {
                "format": _FORMAT,
                "smoothing": self.smoothing,
                "total": self.total,
                "known_until": self.known_until.isoformat(),
                "revision": self.revision,
                "words": self.words,
            }
            (scratch / "vocabulary.json").write_text(json.dumps(head, ensure_ascii=False), encoding="utf-8")


def require_new_directory(directory: Path) -> None:
    """Refuse to write word vectors where something is already.

    Raises:
        BadInput: The path exists.
    """
    if directory.exists():
        raise BadInput(
            directory,
            found="it exists",
            expected="a new directory",
            next_step="give another path, or remove it; vectors that it made keep its revision",
        )


def read_word_vectors(directory: Path) -> WordVectors:
    """Read what ``WordVectors.save`` wrote.

    Raises:
        NotFound: There is no such directory.
        BadInput: A file of it is missing or damaged, or they do not belong together.
    """
    next_step = "run `backbeat features train-words DIRECTORY`, or give another directory"
    if not (directory / "vocabulary.json").is_file():
        raise NotFound(directory, found="no vocabulary.json", expected="trained word vectors", next_step=next_step)
    try:
        head = json.loads((directory / "vocabulary.json").read_text(encoding="utf-8"))
        loaded = WordVectors(
            words=tuple(head["words"]),
            counts=np.load(directory / "counts.npy", allow_pickle=False),
            vectors=np.load(directory / "vectors.npy", allow_pickle=False),
            total=int(head["total"]),
            common=np.load(directory / "common.npy", allow_pickle=False),
            smoothing=float(head["smoothing"]),
            known_until=datetime.fromisoformat(head["known_until"]),
        )
        revision = loaded.revision
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise BadInput(
            directory,
            found=f"damaged files ({error})",
            expected="the four files that training wrote",
            next_step=next_step,
        ) from error
    if revision != head.get("revision"):
        raise BadInput(
            directory,
            found=f"contents of revision {revision}",
            expected=f"revision {head.get('revision')}, as vocabulary.json says",
            next_step=next_step,
        )
    return loaded


def sif_means(model: WordVectors, texts: Iterable[Sequence[str]]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Weighted means of the texts' known words, before the common component is removed (Arora et al., algorithm 1).

    Args:
        model: Its ``common`` is not used.
        texts: Words of each.

    Returns:
        The means, ``[n, width]`` (zeros without a known word), and how many words of each text are known, ``[n]``.
    """
    rows = [[model.index[word] for word in words if word in model.index] for words in texts]
    known = np.array([len(row) for row in rows], np.int64)
    sums = np.zeros((len(rows), model.vectors.shape[1]))
    for number, row in enumerate(rows):
        if row:
            sums[number] = model.weights[row] @ model.vectors[row]
    return (sums / np.maximum(known, 1)[:, None]).astype(np.float32), known


def common_component(means: Floats) -> Floats:
    """First right singular vector of the means, uncentred, ``[width]``; its largest component is positive."""
    # The eigenvectors of the small width x width product are the right singular vectors of the tall matrix.
    tall = means.astype(np.float64)
    _, vectors = np.linalg.eigh(tall.T @ tall)
    first = vectors[:, -1]
    return np.asarray(first * np.sign(first[np.argmax(np.abs(first))]), np.float32)


class Word2VecEncoding:
    """Encoder of titles and posts.

    Args:
        options: ``weights`` is the directory of trained word vectors. Their own availability is the corpus's; a later
            ``available_from`` of the options stands.

    Raises:
        BadInput: No directory is given, or its files are damaged.
        NotFound: There is no such directory.
    """

    def __init__(self, options: EncoderOptions) -> None:
        if not options.weights:
            raise BadInput(
                "encoder word2vec",
                found="no weights",
                expected="the directory of word vectors that were trained on your corpus",
                next_step="run `backbeat features train-words DIRECTORY`, then give it as --weights",
            )
        self._model = read_word_vectors(Path(options.weights))
        self._split = Tokenizer()
        known_until = self._model.known_until
        self._available_from = max(options.available_from or known_until, known_until)

    def spec(self, entity: Entity) -> EmbeddingSpec:
        """The revision is the hash of the word vectors; available from when their corpus was known."""
        return EmbeddingSpec(
            entity=entity,
            modality="textual",
            encoder="word2vec-sif",
            revision=self._model.revision,
            preprocessing=f"NFKC, case-folded, jieba; SIF a={self._model.smoothing:g}, common component removed",
            width=self._model.vectors.shape[1],
            dtype="float32",
            normalisation="none",
            available_from=self._available_from,
        )

    def encode(self, batch: Sequence[MediaItem]) -> tuple[Vectors, list[Fault | None]]:
        """Vectors ``[n, width]``; an item without text, or without a known word, is skipped."""
        means, known = sif_means(self._model, [self._split(normalised(item.text or "")) for item in batch])
        common = self._model.common
        vectors = np.asarray(means - (means @ common)[:, None] * common, np.float32)
        vectors[known == 0] = 0
        faults = [
            None
            if count
            else Fault("no word of the vocabulary" if item.text and item.text.strip() else "no text", absent=True)
            for item, count in zip(batch, known.tolist(), strict=True)
        ]
        return vectors, faults
