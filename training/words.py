"""Titles as rows of words, and what a convolution makes of them (MMM, section 3.2.1)."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, pad

from training.sized import SizedByData

__all__ = ["NO_WORD", "TextCnn", "words_of"]

NO_WORD = 0
"""Fills a row of words up."""

_WORD = re.compile(r"\w+")


def words_of(texts: Sequence[str | None], *, rare: int, longest: int) -> tuple[int, Tensor]:
    """Number the words of texts, the most frequent first and those equally frequent by the alphabet.

    Args:
        texts: N of them; None where there is none.
        rare: Texts in which a word must occur to be told from no word.
        longest: Words of a text that count, its first ones.

    Returns:
        How many different words W there are, and those of each text, int64 ``[N, L]``, from 1 to W, padded with
        :data:`NO_WORD` on the right; L is 0 where there are no words.
    """
    split = [_WORD.findall(text.lower()) if text else [] for text in texts]
    frequency = Counter(word for words in split for word in set(words))
    known = sorted((-count, word) for word, count in frequency.items() if count >= rare)
    number = {word: row for row, (_, word) in enumerate(known, start=1)}
    kept = [[number[word] for word in words if word in number][:longest] for words in split]
    rows = np.zeros((len(kept), max(map(len, kept), default=0)), np.int64)
    for row, words in zip(rows, kept, strict=True):
        row[: len(words)] = words
    return len(known), torch.from_numpy(rows)


class TextCnn(SizedByData):
    """Word vectors, filters over runs of words, the strongest response of each, and a layer: eqs. 1-5, f = ReLU.

    Args:
        width: Components of a word's vector.
        sizes: Words that a filter reads.
        filters: Filters of each size.
        dimension: Width d of the result.
    """

    sized = ("words",)

    def __init__(self, width: int, sizes: Sequence[int], filters: int, dimension: int) -> None:
        super().__init__()
        self._sizes = tuple(sizes)
        self.words = nn.Parameter(torch.zeros(0, width))
        self.filters = nn.ParameterList([nn.Parameter(torch.zeros(size * width, filters)) for size in sizes])
        self.filter_biases = nn.ParameterList([nn.Parameter(torch.zeros(filters)) for _ in sizes])
        self.weight = nn.Parameter(torch.zeros(filters * len(self._sizes), dimension))
        self.bias = nn.Parameter(torch.zeros(dimension))

    def start(self, words: int, generator: torch.Generator) -> None:
        """Draw the parameters of a vocabulary of so many words."""
        self.resize("words", words)
        with torch.no_grad():
            self.words.copy_(torch.empty(self.words.shape).normal_(0, 1, generator=generator))
            for weight in (*self.filters, self.weight):
                weight.copy_(nn.init.xavier_uniform_(torch.empty(weight.shape), generator=generator))
            for bias in (*self.filter_biases, self.bias):
                bias.zero_()

    def forward(self, rows: Tensor) -> Tensor:
        """Representations of n texts.

        Args:
            rows: Of words, int64 ``[n, L]``, padded with :data:`NO_WORD` on the right. A text shorter than a filter is
                read once, filled up by zeros; how wide the padding is makes no difference.

        Returns:
            ``[n, d]``.
        """
        rows = pad(rows, (0, max(0, max(self._sizes) - rows.shape[1])), value=NO_WORD)
        there = rows != NO_WORD
        vectors = embedding((rows - 1).clamp(min=0), self.words) * there.unsqueeze(2)
        lengths = there.sum(1, keepdim=True)
        strongest = []
        for size, filters, bias in zip(self._sizes, self.filters, self.filter_biases, strict=True):
            count = rows.shape[1] - size + 1
            windows = torch.cat([vectors[:, first : first + count] for first in range(size)], dim=2)
            responses = torch.relu(windows @ filters + bias)  # eq. 2
            inside = torch.arange(count, device=rows.device) <= (lengths - size).clamp(min=0)
            strongest.append((responses * inside.unsqueeze(2)).amax(1))  # eqs. 3-4; no response is below 0
        return torch.relu(torch.cat(strongest, dim=1) @ self.weight + self.bias)  # eq. 5
