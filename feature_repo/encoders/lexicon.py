"""Lexicons: which words stand for which emotion or linguistic category, from files that a team can replace.

The emotions are those of DUTIR's Chinese affective lexicon ontology, as AMAE (Shen et al., section III-B) uses them:
2 polarities, 7 emotions and 21 classes. The words that ship here are our own and open; DUTIR's list is not here.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from contracts.errors import BadInput, NotFound
from feature_repo.encoders.tokens import Tokenizer, normalised

__all__ = [
    "CATEGORIES",
    "CATEGORY_WORDS",
    "EMOTIONS",
    "EMOTION_CLASSES",
    "EMOTION_WORDS",
    "POLARITIES",
    "EmotionClass",
    "Lexicon",
    "read_lexicon",
]

EMOTION_WORDS = Path(__file__).parent / "lexicons" / "emotions_en.tsv"
"""The open English emotion lexicon."""
CATEGORY_WORDS = Path(__file__).parent / "lexicons" / "categories.tsv"
"""The open lists of linguistic categories, English and Chinese."""

POLARITIES = ("positive", "negative")
EMOTIONS: dict[str, str] = {
    "happiness": "positive",
    "like": "positive",
    "surprise": "positive",
    "sadness": "negative",
    "anger": "negative",
    "fear": "negative",
    "hate": "negative",
}
"""Emotion → polarity."""


@dataclass(frozen=True)
class EmotionClass:
    """One of the 21 classes: its name, and the emotion it belongs to."""

    name: str
    emotion: str

    @property
    def polarity(self) -> str:
        """``positive`` or ``negative``."""
        return EMOTIONS[self.emotion]


EMOTION_CLASSES: dict[str, EmotionClass] = {
    "PA": EmotionClass("joy", "happiness"),  # 快乐
    "PE": EmotionClass("ease", "happiness"),  # 安心
    "PD": EmotionClass("respect", "like"),  # 尊敬
    "PH": EmotionClass("praise", "like"),  # 赞扬
    "PG": EmotionClass("trust", "like"),  # 相信
    "PB": EmotionClass("love", "like"),  # 喜爱
    "PK": EmotionClass("wish", "like"),  # 祝愿
    "PC": EmotionClass("surprise", "surprise"),  # 惊奇
    "NB": EmotionClass("sorrow", "sadness"),  # 悲伤
    "NJ": EmotionClass("disappointment", "sadness"),  # 失望
    "NH": EmotionClass("guilt", "sadness"),  # 疚
    "PF": EmotionClass("longing", "sadness"),  # 思
    "NA": EmotionClass("anger", "anger"),  # 愤怒
    "NI": EmotionClass("panic", "fear"),  # 慌
    "NC": EmotionClass("fear", "fear"),  # 恐惧
    "NG": EmotionClass("shame", "fear"),  # 羞
    "NE": EmotionClass("annoyance", "hate"),  # 烦闷
    "ND": EmotionClass("hatred", "hate"),  # 憎恶
    "NN": EmotionClass("censure", "hate"),  # 贬责
    "NK": EmotionClass("jealousy", "hate"),  # 妒忌
    "NL": EmotionClass("doubt", "hate"),  # 怀疑
}
"""DUTIR's code → class."""

CATEGORIES = (
    *("pronoun_i", "pronoun_we", "pronoun_you", "pronoun_she_he", "pronoun_they", "pronoun_impersonal"),
    *("article", "preposition", "auxiliary_verb", "adverb", "conjunction", "negation", "quantifier", "number"),
    *("question_word", "insight", "cause", "discrepancy", "certainty", "tentative", "differentiation"),
    *("perception_see", "perception_hear", "perception_feel", "body", "health", "ingestion", "family", "friend"),
    *("social", "work", "leisure", "home", "money", "religion", "death", "time_past", "time_present", "time_future"),
    *("time", "space", "motion", "achievement", "swear", "netspeak", "assent", "filler"),
)
"""Linguistic categories in the manner of LIWC and the Simplified Chinese Microblog Word Count."""

_DEFAULT_INTENSITY = 5.0


@dataclass(frozen=True)
class Lexicon:
    """Entries by word, in the form that ``tokens.normalised`` gives."""

    exact: Mapping[str, tuple[tuple[str, float], ...]]
    """Word or symbol → its (class, intensity) pairs, in the order of the file."""
    prefixes: Mapping[str, tuple[tuple[str, float], ...]]
    """The same for entries that stood before a ``*``."""
    digest: str
    """Twelve hexadecimal digits of the entries; order and comments of the files do not matter."""

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(sorted({len(prefix) for prefix in self.prefixes}, reverse=True))

    def lookup(self, word: str) -> tuple[tuple[str, float], ...]:
        """(class, intensity) pairs of a normalised word: of its own entry, or else of the longest prefix."""
        if word in self.exact:
            return self.exact[word]
        for length in self._lengths:
            if length <= len(word) and word[:length] in self.prefixes:
                return self.prefixes[word[:length]]
        return ()

    @property
    def words(self) -> list[str]:
        """Entries that are words, without prefixes."""
        return [entry for entry in self.exact if Tokenizer.is_word(entry)]

    @property
    def symbols(self) -> list[str]:
        """Entries that are emojis, emoticons or hyphenated."""
        return [entry for entry in self.exact if not Tokenizer.is_word(entry)]


def _bad_line(path: Path, number: int, found: str, expected: str) -> BadInput:
    return BadInput(
        f"{path}, line {number}", found=found, expected=expected, next_step="correct the line, then run again"
    )


def _entry(path: Path, number: int, line: str, classes: Collection[str]) -> tuple[str, bool, str, float]:
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) not in (2, 3):
        raise _bad_line(path, number, f"{len(fields)} fields", "word, class and, if known, intensity, parted by tabs")
    word, code = fields[0], fields[1]
    is_prefix = len(word) > 1 and word.endswith("*")
    key = normalised(word[:-1] if is_prefix else word)
    if not key or any(character.isspace() for character in key):
        raise _bad_line(path, number, f"the entry {word!r}", "one word or symbol without spaces")
    if is_prefix and not Tokenizer.is_word(key):
        raise _bad_line(path, number, f"the entry {word!r}", "letters before the *")
    if code not in classes:
        raise _bad_line(path, number, f"class {code!r}", f"one of {', '.join(classes)}")
    if len(fields) == 2:
        return key, is_prefix, code, _DEFAULT_INTENSITY
    try:
        intensity = float(fields[2])
    except ValueError:
        intensity = float("nan")
    if not 0 < intensity <= 9:
        raise _bad_line(path, number, f"intensity {fields[2]!r}", "a number above 0, at most 9")
    return key, is_prefix, code, intensity


def read_lexicon(paths: Iterable[Path], classes: Collection[str]) -> Lexicon:
    """Read lexicon files and join them.

    A file is UTF-8 text; a line is ``word<TAB>class`` or ``word<TAB>class<TAB>intensity``, with an intensity above 0
    and at most 9 (5 where it is not given). Empty lines and lines that begin with ``# `` are skipped. A word is a word
    of any script, an emoji, an emoticon or a name in brackets (``[smile]``), without spaces; one that ends with ``*``
    stands for every word that begins so. A word may have several classes, on a line each.

    Args:
        paths: The files; at least one.
        classes: Class codes that are allowed.

    Raises:
        NotFound: A file does not exist.
        BadInput: A file is not UTF-8, has no entry, or a line is wrong or says what an earlier one said.
    """
    exact: dict[str, dict[str, float]] = {}
    prefixes: dict[str, dict[str, float]] = {}
    places: dict[tuple[str, bool, str], str] = {}
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError as error:
            raise NotFound(
                path, found="no such file", expected="a lexicon", next_step="give the path of a lexicon file"
            ) from error
        except (UnicodeDecodeError, IsADirectoryError) as error:
            raise BadInput(path, found=str(error), expected="UTF-8 text", next_step="save it as UTF-8") from error
        count = 0
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("# "):
                continue
            key, is_prefix, code, intensity = _entry(path, number, line, classes)
            earlier = places.setdefault((key, is_prefix, code), f"{path}, line {number}")
            if earlier != f"{path}, line {number}":
                raise _bad_line(path, number, f"{key!r} as {code} again", f"it once: it is in {earlier} already")
            (prefixes if is_prefix else exact).setdefault(key, {})[code] = intensity
            count += 1
        if not count:
            raise BadInput(path, found="no entry", expected="at least one line", next_step="give another lexicon file")
    rows = sorted(f"{k}\t{p:d}\t{c}\t{(prefixes if p else exact)[k][c]}" for k, p, c in places)
    return Lexicon(
        {word: tuple(found.items()) for word, found in exact.items()},
        {word: tuple(found.items()) for word, found in prefixes.items()},
        hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12],
    )
