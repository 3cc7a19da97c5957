"""Names of files: readable, and each its own."""

import re

from validation.naming import file_name


def test_names_are_what_they_show_and_never_the_same() -> None:
    assert file_name("embedding_visual.v-2", ".png") == "embedding_visual.v-2.png"
    shown = ["a-b", "a@b", "a b", "a/b", "ä-b", "ö-b", "音", "楽", ""]
    names = [file_name(one, ".html") for one in shown]
    assert len(set(names)) == len(shown)
    assert all(re.fullmatch(r"[\w.-]+", name, re.ASCII) for name in names)
    assert names[1].startswith("a-b-")
    assert names == [file_name(one, ".html") for one in shown], "links find the file that another process wrote"
