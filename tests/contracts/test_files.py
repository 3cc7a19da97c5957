"""Whole or absent, also with several writers at once."""

from pathlib import Path

import pytest

from contracts.files import file_written_whole


def test_writers_of_one_path_leave_each_other_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table"
    with file_written_whole(path) as first:
        first.write_text("first")
        with file_written_whole(path) as second:
            second.write_text("second")
            assert not path.exists()
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    with pytest.raises(RuntimeError), file_written_whole(path) as third:
        third.write_text("third")
        raise RuntimeError
    assert path.read_text() == "first"
    assert [each.name for each in path.parent.iterdir()] == ["table"]
