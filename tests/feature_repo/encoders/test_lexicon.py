"""Lexicon files: what they may say, and what is refused, naming file and line."""

from collections import Counter
from pathlib import Path

import pytest

from contracts.errors import BadInput, NotFound
from feature_repo.encoders.lexicon import (
    CATEGORIES,
    CATEGORY_WORDS,
    EMOTION_CLASSES,
    EMOTION_WORDS,
    EMOTIONS,
    read_lexicon,
)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_hierarchy_has_2_7_and_21_classes() -> None:
    assert len(EMOTION_CLASSES) == 21
    assert len({kind.name for kind in EMOTION_CLASSES.values()}) == 21
    assert Counter(kind.emotion for kind in EMOTION_CLASSES.values()) == {
        "happiness": 2,
        "like": 5,
        "surprise": 1,
        "sadness": 4,
        "anger": 1,
        "fear": 3,
        "hate": 5,
    }
    assert Counter(EMOTIONS.values()) == {"positive": 3, "negative": 4}
    assert EMOTION_CLASSES["PF"].polarity == "negative"


def test_the_lexicons_that_ship_cover_every_class() -> None:
    emotions = read_lexicon([EMOTION_WORDS], tuple(EMOTION_CLASSES))
    entries = [*emotions.exact.values(), *emotions.prefixes.values()]
    per_class = Counter(code for found in entries for code, _ in found)
    assert set(per_class) == set(EMOTION_CLASSES)
    assert min(per_class.values()) >= 25
    categories = read_lexicon([CATEGORY_WORDS], CATEGORIES)
    found = {code for pairs in [*categories.exact.values(), *categories.prefixes.values()] for code, _ in pairs}
    assert found == set(CATEGORIES)
    assert emotions.lookup("amazon") == ()
    assert emotions.lookup("terrified") == (("NC", 9.0),)
    assert emotions.lookup("terrific") == (("PH", 7.0),)


def test_exact_beats_prefix_and_the_longest_prefix_beats_shorter_ones(tmp_path: Path) -> None:
    path = written(tmp_path / "l.tsv", "# a comment\n\nca*\tNB\ncat*\tPB\t9\nCats\tPA\t3\ncats\tPE\n")
    lexicon = read_lexicon([path], tuple(EMOTION_CLASSES))
    assert lexicon.lookup("car") == (("NB", 5.0),)
    assert lexicon.lookup("cattle") == (("PB", 9.0),)
    assert lexicon.lookup("cats") == (("PA", 3.0), ("PE", 5.0))
    assert lexicon.lookup("c") == ()


def test_the_digest_is_of_the_entries_alone(tmp_path: Path) -> None:
    codes = tuple(EMOTION_CLASSES)
    one = written(tmp_path / "1.tsv", "cat\tPB\ndog\tPB\t7\n")
    two = written(tmp_path / "2.tsv", "\ufeff# other\nDOG\tPB\t7.0\ncat\tPB\t5\n")
    three = written(tmp_path / "3.tsv", "cat\tPB\ndog\tPB\t6\n")
    parts = [written(tmp_path / "a.tsv", "cat\tPB\n"), written(tmp_path / "b.tsv", "dog\tPB\t7\n")]
    assert read_lexicon([one], codes) == read_lexicon([two], codes) == read_lexicon(parts, codes)
    assert read_lexicon([one], codes).digest != read_lexicon([three], codes).digest


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("happy PA", r"line 2: found 1 fields; expected word, class and"),
        ("happy\tPA\t5\tx", r"line 2: found 4 fields"),
        ("happy\tpositive", r"line 2: found class 'positive'; expected one of PA, PE"),
        ("happy\tPA\thigh", r"line 2: found intensity 'high'; expected a number above 0, at most 9"),
        ("happy\tPA\t0", r"line 2: found intensity '0'"),
        ("happy\tPA\t9.5", r"line 2: found intensity '9.5'"),
        ("happy\tPA\tnan", r"line 2: found intensity 'nan'"),
        ("fed up\tNE", r"line 2: found the entry 'fed up'; expected one word or symbol without spaces"),
        ("\tNE", r"line 2: found the entry ''"),
        ("😀*\tPA", r"line 2: found the entry '😀\*'; expected letters before the \*"),
        ("JOY\tPA\t3", r"line 2: found 'joy' as PA again; expected it once: it is in .*l\.tsv, line 1 already"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path / "l.tsv", f"joy\tPA\n{line}\n")
    with pytest.raises(BadInput, match=message) as caught:
        read_lexicon([path], tuple(EMOTION_CLASSES))
    assert str(path) in str(caught.value)


def test_the_second_file_that_repeats_the_first_is_named(tmp_path: Path) -> None:
    one, two = written(tmp_path / "1.tsv", "joy\tPA\n"), written(tmp_path / "2.tsv", "glee\tPA\njoy\tPA\n")
    with pytest.raises(BadInput, match=r"2\.tsv, line 2: found 'joy' as PA again.*1\.tsv, line 1"):
        read_lexicon([one, two], tuple(EMOTION_CLASSES))


def test_a_file_that_is_no_lexicon(tmp_path: Path) -> None:
    codes = tuple(EMOTION_CLASSES)
    with pytest.raises(NotFound, match=r"none\.tsv: found no such file; expected a lexicon"):
        read_lexicon([tmp_path / "none.tsv"], codes)
    with pytest.raises(BadInput, match="found no entry; expected at least one line"):
        read_lexicon([written(tmp_path / "empty.tsv", "# nothing\n\n")], codes)
    (tmp_path / "gbk.tsv").write_bytes("快乐\tPA\n".encode("gbk"))
    with pytest.raises(BadInput, match="expected UTF-8 text"):
        read_lexicon([tmp_path / "gbk.tsv"], codes)
    with pytest.raises(BadInput, match="expected UTF-8 text"):
        read_lexicon([tmp_path], codes)
