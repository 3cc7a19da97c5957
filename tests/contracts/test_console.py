import json

import pytest

from contracts.console import emit, note, progress


def test_results_and_remarks_keep_apart(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": 1}, as_json=True, text="one")
    emit({"a": 1}, as_json=False, text="one\n\n")
    note("by the way")
    said = capsys.readouterr()
    document, text = said.out.rsplit("\n", 2)[:2]
    assert (json.loads(document), text, said.err) == ({"a": 1}, "one", "by the way\n")


def test_progress_off_a_terminal_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("rows", 3) as advance:
        advance(2)
        advance(note="all there")
    assert capsys.readouterr().err == "  rows 0/3\n  rows 3/3  all there\n"


def test_progress_of_unknown_length_says_how_far(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("rows", None):
        pass
    assert capsys.readouterr().err == "  rows 0\n"
