"""Handcrafted text features against counts made by hand."""

from pathlib import Path

import numpy as np
import pytest

from contracts.errors import BadInput
from feature_repo.encoders.encoding import EncoderOptions, Fault, MediaItem
from feature_repo.encoders.handcrafted_text import TEXT_COMPONENTS, HandcraftedText
from feature_repo.encoders.registry import ENCODERS


def encoded(text: str | None, encoding: HandcraftedText) -> dict[str, float]:
    """Components that are not zero."""
    vectors, faults = encoding.encode([MediaItem("post", "p", text=text)])
    assert vectors.shape == (1, len(TEXT_COMPONENTS))
    assert vectors.dtype == np.float32
    assert faults == [None]
    return {name: float(value) for name, value in zip(TEXT_COMPONENTS, vectors[0], strict=True) if value}


@pytest.fixture(scope="module")
def english() -> HandcraftedText:
    return HandcraftedText(EncoderOptions())


def test_components_have_names_of_their_own() -> None:
    assert len(set(TEXT_COMPONENTS)) == len(TEXT_COMPONENTS)
    levels = [sum(name.startswith(kind) for name in TEXT_COMPONENTS) for kind in ("polarity", "emotion", "class")]
    assert levels == [2, 7, 21]


def test_an_english_text(english: HandcraftedText) -> None:
    found = encoded("I love my dog! But I was sad yesterday...", english)
    # words: i love my dog but i was sad yesterday = 9
    ninth = pytest.approx(1 / 9)
    assert found == {
        "polarity_positive": ninth,
        "emotion_like": ninth,
        "class_PB_love": ninth,
        "intensity_positive": pytest.approx(7 / 9),
        "polarity_negative": ninth,
        "emotion_sadness": ninth,
        "class_NB_sorrow": ninth,
        "intensity_negative": pytest.approx(7 / 9),
        "category_pronoun_i": pytest.approx(3 / 9),  # i, my, i
        "category_conjunction": ninth,  # but
        "category_differentiation": ninth,  # but
        "category_auxiliary_verb": ninth,  # was
        "category_time_past": pytest.approx(2 / 9),  # was, yesterday
        "category_time": ninth,  # yesterday
        "punctuation_exclamation_mark": ninth,
        "punctuation_ellipsis": ninth,
        "size_characters": 41,
        "size_words": 9,
        "size_sentences": 2,
    }


def test_emojis_emoticons_and_marks(english: HandcraftedText) -> None:
    found = encoded("😍❤️👍🏽 :-( @ann.lee https://example.com/happy #happy 🦖", english)
    # words: 😍 ❤ 👍 :-( lee happy = 6; the name and the link are none
    assert found["class_PB_love"] == pytest.approx(2 / 6)
    assert found["class_PH_praise"] == pytest.approx(1 / 6)
    assert found["class_PA_joy"] == pytest.approx(1 / 6)
    assert found["class_NB_sorrow"] == pytest.approx(1 / 6)
    assert found["polarity_positive"] == pytest.approx(4 / 6)
    assert found["emotion_like"] == pytest.approx(3 / 6)
    assert found["intensity_positive"] == pytest.approx((9 + 7 + 5 + 7) / 4 / 9)
    assert found["marks_emoji"] == pytest.approx(4 / 6)
    assert [found[f"marks_{kind}"] for kind in ("mention", "url", "hashtag")] == [pytest.approx(1 / 6)] * 3
    assert found["size_words"] == 6


def test_a_chinese_lexicon_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "中文.tsv"
    path.write_text("# 小词典\n开心\tPA\t7\n绝绝子\tPH\t9\n难过\tNB\t5\n[流泪]\tNB\t7\n怀念\tPF\n", encoding="utf-8")
    chinese = HandcraftedText(EncoderOptions(weights=str(path)))
    found = encoded("我很开心，绝绝子！但是他难过[流泪]。happy", chinese)
    # 我 很 开心 绝绝子 但是 他 难过 [流泪] happy = 9
    assert found["size_words"] == 9
    assert found["class_PA_joy"] == pytest.approx(1 / 9)
    assert found["class_PH_praise"] == pytest.approx(1 / 9)
    assert found["class_NB_sorrow"] == pytest.approx(2 / 9)
    assert found["polarity_positive"] == found["polarity_negative"] == pytest.approx(2 / 9)
    assert found["intensity_positive"] == pytest.approx(8 / 9)
    assert found["intensity_negative"] == pytest.approx(6 / 9)
    assert found["category_pronoun_i"] == found["category_pronoun_she_he"] == pytest.approx(1 / 9)
    assert found["category_adverb"] == found["category_conjunction"] == pytest.approx(1 / 9)
    assert [found[f"punctuation_{mark}"] for mark in ("comma", "exclamation_mark", "full_stop")] == [
        *[pytest.approx(1 / 9)] * 3
    ]
    assert found["size_sentences"] == 3
    assert chinese.spec("post").revision != HandcraftedText(EncoderOptions()).spec("post").revision


def test_two_lexicons_are_joined(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("cat\tPB\n")
    (tmp_path / "b.tsv").write_text("dog\tPB\n")
    both = HandcraftedText(EncoderOptions(weights=f"{tmp_path / 'a.tsv'},{tmp_path / 'b.tsv'}"))
    assert encoded("cat dog happy", both)["class_PB_love"] == pytest.approx(2 / 3)


def test_a_wrong_lexicon_is_refused_before_anything_is_encoded(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("cat\tXX\n")
    with pytest.raises(BadInput, match=r"a\.tsv, line 1: found class 'XX'"):
        ENCODERS["handcrafted-text"].build(EncoderOptions(weights=str(tmp_path / "a.tsv")))


def test_punctuation(english: HandcraftedText) -> None:
    found = encoded('Well-known: "a", (b); c - d — 1.5 e. f? it\'s', english)
    # well known a b c d 1.5 e f it's = 10
    assert {name: round(value * 10) for name, value in found.items() if name.startswith("punctuation")} == {
        "punctuation_full_stop": 1,
        "punctuation_comma": 1,
        "punctuation_colon": 1,
        "punctuation_semicolon": 1,
        "punctuation_question_mark": 1,
        "punctuation_dash": 2,
        "punctuation_quotation_mark": 2,
        "punctuation_parenthesis": 2,
        "punctuation_apostrophe": 1,
    }


def test_a_text_without_words_is_divided_by_one(english: HandcraftedText) -> None:
    assert encoded("?!?", english) == {
        "punctuation_question_mark": 2,
        "punctuation_exclamation_mark": 1,
        "size_characters": 3,
    }


def test_forms_of_the_same_text_are_equal(english: HandcraftedText) -> None:
    one, two = encoded("I don't LOVE cafés", english), encoded("Ｉ don’t love cafe\u0301s", english)
    assert one.pop("size_characters") == 18
    assert two.pop("size_characters") == 19
    assert one == two


def test_no_text_is_nothing_to_encode(english: HandcraftedText) -> None:
    items = [MediaItem("post", str(n), text=text) for n, text in enumerate([None, "", " \n\t", "fine"])]
    vectors, faults = english.encode(items)
    assert faults == [*[Fault("no text", absent=True)] * 3, None]
    np.testing.assert_array_equal(vectors[3], english.encode(items[3:])[0][0])
    assert english.encode([])[0].shape == (0, len(TEXT_COMPONENTS))


def test_a_very_long_text_has_the_frequencies_of_its_part(english: HandcraftedText) -> None:
    once, often = encoded("I am happy. 真开心！ ", english), encoded("I am happy. 真开心！ " * 20_000, english)
    assert often["size_words"] == 20_000 * once["size_words"] == 100_000
    assert often["size_sentences"] == 40_000
    for name, value in once.items():
        if not name.startswith("size"):
            assert often[name] == pytest.approx(value)


def test_the_spec_names_the_lexicons() -> None:
    entry = ENCODERS["handcrafted-text"]
    spec = entry.build(EncoderOptions()).spec("video")
    assert (spec.modality, spec.name, spec.width) == (entry.modality, "textual_handcrafted", len(TEXT_COMPONENTS))
    assert len(spec.revision) == 12
