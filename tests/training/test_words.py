"""Words of titles, and the convolution over them by hand."""

import pytest
import torch

from training.words import TextCnn, words_of


def test_words_are_numbered_by_frequency_and_alphabet() -> None:
    texts = ("Blue blue RIVER", None, "river, Red!", "", "blue red", "once")
    count, rows = words_of(texts, rare=2, longest=10)
    # Each of blue, red and river is in two texts.
    assert count == 3
    assert rows.tolist() == [[1, 1, 3], [0, 0, 0], [3, 2, 0], [0, 0, 0], [1, 2, 0], [0, 0, 0]]


def test_words_beyond_the_longest_title_are_cut_off() -> None:
    assert words_of(("a b c", "c"), rare=1, longest=2)[1].tolist() == [[2, 3], [1, 0]]


def test_words_of_other_scripts_count() -> None:
    assert words_of(("Молотов 東京", "東京"), rare=1, longest=5)[0] == 2


@pytest.mark.parametrize("texts", [(), (None, None), ("solo",)])
def test_no_words(texts: tuple[str | None, ...]) -> None:
    count, rows = words_of(texts, rare=2, longest=5)
    assert (count, tuple(rows.shape)) == (0, (len(texts), 0))


def network() -> TextCnn:
    """Words 1, 2, 3 have the vectors 1, 2 and -3; one filter over two words and one over three."""
    cnn = TextCnn(width=1, sizes=(2, 3), filters=1, dimension=2)
    cnn.start(3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        cnn.words.copy_(torch.tensor([[1.0], [2.0], [-3.0]]))
        cnn.filters[0].copy_(torch.tensor([[1.0], [10.0]]))
        cnn.filters[1].copy_(torch.tensor([[1.0], [0.0], [-1.0]]))
        cnn.filter_biases[0].fill_(0.5)
        cnn.filter_biases[1].fill_(-1)
        cnn.weight.copy_(torch.tensor([[1.0, 2.0], [1.0, -100.0]]))
        cnn.bias.copy_(torch.tensor([0.25, 0.0]))
    return cnn


def test_equations_1_to_5_by_hand() -> None:
    with torch.no_grad():
        codes = network()(torch.tensor([[1, 2, 3, 1], [2, 0, 0, 0], [0, 0, 0, 0]]))
    # Vectors 1 2 -3 1: pairs 21, -28, 7 plus 1/2, of which the strongest is 21.5; threes 1+3-1 = 3 and 2-1-1 = 0.
    # Vector 2 alone: 2 + 1/2, and 2 - 1 = 1. No words: only the biases, 1/2 and nothing.
    expected = [[21.5 + 3 + 0.25, 0.0], [2.5 + 1 + 0.25, 0.0], [0.5 + 0.25, 1.0]]
    assert torch.allclose(codes, torch.tensor(expected))


def test_padding_makes_no_difference() -> None:
    cnn = TextCnn(width=4, sizes=(2, 3, 4), filters=5, dimension=3)
    cnn.start(6, torch.Generator().manual_seed(1))
    rows = torch.tensor([[1, 6, 2], [4, 0, 0]])
    with torch.no_grad():
        for bias in (*cnn.filter_biases, cnn.bias):
            bias.fill_(0.5)
        wide = torch.nn.functional.pad(rows, (0, 7))
        assert torch.allclose(cnn(rows), cnn(wide))
        assert cnn(rows).any(1).all()


def test_it_becomes_as_large_as_a_state() -> None:
    cnn, copy = network(), TextCnn(width=1, sizes=(2, 3), filters=1, dimension=2)
    copy.make_room(cnn.state_dict())
    copy.load_state_dict(cnn.state_dict())
    assert isinstance(copy.words, torch.nn.Parameter)
    rows = torch.tensor([[1, 2, 3]])
    assert torch.equal(copy(rows), cnn(rows))
