"""Words, symbols and sentences of a text in any script; Chinese is segmented by jieba."""

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

__all__ = ["Tokenizer", "normalised", "sentence_count"]

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HAS_HAN = re.compile(f"[{_HAN}]")
# A run of Chinese, or a word of another script with its inner apostrophes (don't, aujourd'hui), or a number.
_WORD = rf"[{_HAN}]+|(?:(?![{_HAN}])[^\W\d_])+(?:'(?:(?![{_HAN}])[^\W\d_])+)*|\d+(?:[.,]\d+)*"
_VARIANTS = re.compile("[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]")  # text or emoji style, skin tones
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u02bc": "'"})
# A full stop between digits or letters (3.5, example.com) ends nothing.
_SENTENCE_END = re.compile(r"(?:[!?。…]|\.(?!\w))+|\n+")


def normalised(text: str) -> str:
    """Text in the form in which words are looked up.

    Unicode NFKC and case folding, straight apostrophes, emojis without style and skin tone.
    """
    folded = unicodedata.normalize("NFKC", _VARIANTS.sub("", text)).casefold()
    return unicodedata.normalize("NFKC", folded).translate(_APOSTROPHES)


def sentence_count(text: str) -> int:
    """Sentences of a text: stretches with a letter or digit, parted by ``. ! ? 。 …`` or a line break.

    A text without any of these marks is one sentence; one of emojis and punctuation alone has none.
    """
    stretches = _SENTENCE_END.split(unicodedata.normalize("NFKC", text))
    return sum(1 for stretch in stretches if any(unicodedata.category(c)[0] in "LN" for c in stretch))


class Tokenizer:
    """Splits a normalised text into words and known symbols, in their order.

    Words of scripts that part words by spaces are runs of letters, with apostrophes inside; numbers are words;
    Chinese is segmented by jieba's precise mode without its model for unknown words, so that equal dictionaries give
    equal words. Everything else is dropped, but for the given symbols (emojis, emoticons, ``[smile]``), which are
    matched first, longest first.

    Args:
        words: Words to add to jieba's dictionary; those without Chinese characters need no adding.
        symbols: Normalised entries to be matched as they stand.
    """

    def __init__(self, words: Iterable[str] = (), symbols: Iterable[str] = ()) -> None:
        self._added = sorted({word for word in words if _HAS_HAN.search(word)})
        longest_first: Sequence[str] = sorted(set(symbols), key=lambda s: (-len(s), s))
        # A symbol that begins or ends with a letter (":d", "well-being") does not match inside a word.
        verbatim = [
            (r"(?<!\w)" if s[0].isalnum() else "") + re.escape(s) + (r"(?!\w)" if s[-1].isalnum() else "")
            for s in longest_first
        ]
        self._pattern = re.compile("|".join([*verbatim, _WORD]))

    @staticmethod
    def is_word(entry: str) -> bool:
        """Whether a normalised entry is a word by itself; what is not is a symbol."""
        return re.fullmatch(_WORD, entry) is not None

    @cached_property
    def _jieba(self) -> Any:
        import jieba

        jieba.setLogLevel(logging.WARNING)
        segmenter = jieba.Tokenizer()
        # jieba would read its dictionary from a marshal file in the shared temporary directory, which anyone may write.
        segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
        segmenter.initialized = True
        for word in self._added:
            segmenter.add_word(word)
        return segmenter

    def __call__(self, text: str) -> list[str]:
        """Words and symbols of a text that ``normalised`` has made."""
        found: list[str] = []
        for piece in self._pattern.findall(text):
            if _HAS_HAN.match(piece):
                found.extend(self._jieba.lcut(piece, HMM=False))
            else:
                found.append(piece)
        return found
