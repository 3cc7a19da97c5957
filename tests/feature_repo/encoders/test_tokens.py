"""Words, symbols and sentences, against splits made by hand."""

import tempfile
from pathlib import Path

import pytest

from feature_repo.encoders.tokens import Tokenizer, normalised, sentence_count


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop me now!", ["don't", "stop", "me", "now"]),
        ("Don’t   stop", ["don't", "stop"]),
        ("ＦＵＬＬ　ｗｉｄｔｈ", ["full", "width"]),
        ("caf\u0065\u0301 = caf\u00e9", ["café", "café"]),
        ("\u210cello", ["hello"]),  # black-letter H
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("3.5 km, 1,000 m2", ["3.5", "km", "1,000", "m", "2"]),
        ("snake_case #Hash", ["snake", "case", "hash"]),
        ("Привет, мир", ["привет", "мир"]),
        ("…?!", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert Tokenizer()(normalised(text)) == words


def test_chinese_is_segmented_between_words_of_other_scripts() -> None:
    assert Tokenizer()(normalised("我爱北京天安门，I love它")) == ["我", "爱", "北京", "天安门", "i", "love", "它"]


def test_added_words_stay_whole() -> None:
    assert Tokenizer()("绝绝子") != ["绝绝子"]
    assert Tokenizer(["绝绝子"])("真绝绝子") == ["真", "绝绝子"]


def test_jieba_leaves_no_cache_in_the_shared_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert Tokenizer()("北京") == ["北京"]
    assert list(tmp_path.iterdir()) == []


def test_symbols_are_matched_as_they_stand_longest_first() -> None:
    split = Tokenizer(symbols=[":(", ">:(", "😀", "[微笑]", "well-being", ":d"])
    assert split(normalised(">:( :( 😀😀 [微笑] well-being :D")) == [
        *(">:(", ":(", "😀", "😀", "[微笑]", "well-being", ":d"),
    ]
    assert split("food:delicious") == ["food", "delicious"]
    assert split("dwell-beings") == ["dwell", "beings"]


def test_emojis_lose_style_and_skin_tone() -> None:
    assert normalised("❤️") == normalised("❤") == "❤"
    assert normalised("👍🏽") == "👍"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("?!", 0),
        ("😀", 0),
        ("no mark", 1),
        ("One. Two! Three?", 3),
        ("Wait... what?!", 2),
        ("It is 3.5 km to example.com", 1),
        ("第一句。第二句！😀", 2),
        ("line one\nline two\n\n", 2),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert sentence_count(text) == count
