"""Handcrafted text features: emotion frequencies at three levels, linguistic categories, punctuation and sizes.

AMAE (Shen et al.), section III-B. Every frequency is a count divided by the number of words of the text (symbols of
the emotion lexicon count as words; a text without words is divided by one). Sizes are plain counts.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from contracts.embeddings import EmbeddingSpec
from feature_repo.encoders.encoding import EncoderOptions, Entity, Fault, MediaItem, Vectors
from feature_repo.encoders.lexicon import (
    CATEGORIES,
    CATEGORY_WORDS,
    EMOTION_CLASSES,
    EMOTION_WORDS,
    EMOTIONS,
    POLARITIES,
    Lexicon,
    read_lexicon,
)
from feature_repo.encoders.tokens import Tokenizer, normalised, sentence_count

__all__ = ["TEXT_COMPONENTS", "HandcraftedText", "text_vector"]

_URL = re.compile(r"(?:https?://|www\.)\S+")
_MENTION = re.compile(r"(?<!\w)@[\w-]+")
_HASHTAG = re.compile(r"(?<!\w)#\w")
_EMOJI = re.compile("[\u2600-\u27bf\u2b50\u2b55\U0001f300-\U0001f3fa\U0001f400-\U0001faff]")
_PUNCTUATION = {
    "full_stop": re.compile(r"(?<!\.)\.(?![.\w])|。"),
    "comma": re.compile("[,，、]"),
    "colon": re.compile("[:：]"),
    "semicolon": re.compile("[;；]"),
    "question_mark": re.compile("[?？]"),
    "exclamation_mark": re.compile("[!！]"),
    "ellipsis": re.compile(r"\.{2,}|…+"),
    "dash": re.compile(r"(?<!\w)[-–]|[-–](?!\w)|—+"),
    "quotation_mark": re.compile('["“”«»「」『』]'),
    "parenthesis": re.compile(r"[()（）\[\]【】]"),
    "apostrophe": re.compile("['’]"),
}
_SIZES = ("characters", "words", "sentences")

TEXT_COMPONENTS: tuple[str, ...] = (
    *(f"polarity_{name}" for name in POLARITIES),
    *(f"emotion_{name}" for name in EMOTIONS),
    *(f"class_{code}_{kind.name}" for code, kind in EMOTION_CLASSES.items()),
    *(f"intensity_{name}" for name in POLARITIES),
    *(f"category_{name}" for name in CATEGORIES),
    *(f"punctuation_{name}" for name in _PUNCTUATION),
    *("marks_url", "marks_mention", "marks_hashtag", "marks_emoji"),
    *(f"size_{name}" for name in _SIZES),
)
"""Names of the vector's components. ``intensity_*`` is the mean intensity, of 9, of the polarity's words."""

_AT = {name: index for index, name in enumerate(TEXT_COMPONENTS)}


def text_vector(text: str, emotions: Lexicon, categories: Lexicon, tokenizer: Tokenizer) -> Vectors:
    """Features of one text, float32 ``[len(TEXT_COMPONENTS)]``.

    Args:
        text: Any text; links and ``@names`` are counted and are not words.
        emotions: Words of ``EMOTION_CLASSES``.
        categories: Words of ``CATEGORIES``.
        tokenizer: Knows both lexicons' words and symbols.
    """
    vector = np.zeros(len(TEXT_COMPONENTS))
    plain, urls = _URL.subn(" ", text)
    plain, mentions = _MENTION.subn(" ", plain)
    words = tokenizer(normalised(plain))
    counts = dict.fromkeys(POLARITIES, 0)
    for word in words:
        for code, intensity in emotions.lookup(word):
            kind = EMOTION_CLASSES[code]
            vector[_AT[f"class_{code}_{kind.name}"]] += 1
            vector[_AT[f"emotion_{kind.emotion}"]] += 1
            vector[_AT[f"polarity_{kind.polarity}"]] += 1
            vector[_AT[f"intensity_{kind.polarity}"]] += intensity / 9
            counts[kind.polarity] += 1
        for code, _ in categories.lookup(word):
            vector[_AT[f"category_{code}"]] += 1
    for name, mark in _PUNCTUATION.items():
        vector[_AT[f"punctuation_{name}"]] = len(mark.findall(plain))
    vector[_AT["marks_url"]] = urls
    vector[_AT["marks_mention"]] = mentions
    vector[_AT["marks_hashtag"]] = len(_HASHTAG.findall(plain))
    vector[_AT["marks_emoji"]] = len(_EMOJI.findall(plain))
    vector /= max(len(words), 1)
    for name, count in counts.items():
        # Undo the division by words: the mean is over the polarity's own words.
        vector[_AT[f"intensity_{name}"]] *= max(len(words), 1) / max(count, 1)
    vector[_AT["size_characters"]] = len(text)
    vector[_AT["size_words"]] = len(words)
    vector[_AT["size_sentences"]] = sentence_count(plain)
    return vector.astype(np.float32)


class HandcraftedText:
    """Encoder of titles and posts.

    Args:
        options: ``weights`` is the path of an emotion lexicon that takes the place of the English one, or several
            parted by commas.

    Raises:
        NotFound: A lexicon does not exist.
        BadInput: A line of it is wrong; the message names file and line.
    """

    def __init__(self, options: EncoderOptions) -> None:
        paths = [Path(path) for path in options.weights.split(",")] if options.weights else [EMOTION_WORDS]
        self._emotions = read_lexicon(paths, tuple(EMOTION_CLASSES))
        self._categories = read_lexicon([CATEGORY_WORDS], CATEGORIES)
        self._available_from = options.available_from
        self._tokenizer = Tokenizer(
            [*self._emotions.words, *self._categories.words], [*self._emotions.symbols, *self._categories.symbols]
        )

    def spec(self, entity: Entity) -> EmbeddingSpec:
        """The revision is the emotion lexicon's digest; the preprocessing names that of the categories."""
        return EmbeddingSpec(
            entity=entity,
            modality="textual_handcrafted",
            encoder="handcrafted-text",
            revision=self._emotions.digest,
            preprocessing=f"NFKC, case-folded, jieba; categories {self._categories.digest}; components 1",
            width=len(TEXT_COMPONENTS),
            dtype="float32",
            normalisation="none",
            available_from=self._available_from,
        )

    def encode(self, batch: Sequence[MediaItem]) -> tuple[Vectors, list[Fault | None]]:
        """Vectors ``[n, width]``; an item without text is skipped."""
        vectors = np.zeros((len(batch), len(TEXT_COMPONENTS)), np.float32)
        faults: list[Fault | None] = [None] * len(batch)
        for row, item in enumerate(batch):
            if item.text is None or not item.text.strip():
                faults[row] = Fault("no text", absent=True)
            else:
                vectors[row] = text_vector(item.text, self._emotions, self._categories, self._tokenizer)
        return vectors, faults
