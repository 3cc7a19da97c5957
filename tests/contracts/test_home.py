import json
import multiprocessing
import time
from pathlib import Path

import pytest

from contracts.current import current_snapshot_id
from contracts.errors import BadInput, HomeBusy, HomeTooNew, NotFound, StorageFull
from contracts.files import directory_written_whole, storage_full_in, write_text_whole
from contracts.home import HOME_FORMAT, Home
from contracts.settings import Settings, load_settings


def test_a_home_is_made_by_its_first_writer(home: Home) -> None:
    assert not home.root.exists()
    with home.writing("test"):
        assert home.root.is_dir()
    assert home.exists
    assert json.loads(home.marker.read_text())["format"] == HOME_FORMAT
    home.require()


def test_a_first_command_that_fails_leaves_no_home(home: Home) -> None:
    with pytest.raises(ZeroDivisionError), home.writing("test"):
        raise ZeroDivisionError
    assert not home.root.exists()


def test_reading_a_home_that_is_not_there(home: Home) -> None:
    with pytest.raises(NotFound, match=r"found nothing there.*backbeat ingest"):
        home.require()


def test_a_home_of_a_newer_version_is_left_alone(home: Home, settings: Settings) -> None:
    home.root.mkdir()
    home.marker.write_text(json.dumps({"format": HOME_FORMAT + 1, "backbeat": "9.0.0"}))
    with pytest.raises(HomeTooNew, match=rf"format {HOME_FORMAT + 1}, written by Backbeat 9.0.0.*upgrade"):
        Home.open(settings)


def test_a_directory_of_something_else_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(BadInput, match=r"without home.json that holds thesis.tex"):
        Home.open(load_settings(home=tmp_path))


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(BadInput, match="found a file"):
        Home.open(load_settings(home=tmp_path / "x"))


def _hold(root: Path, held: "multiprocessing.Event", release: "multiprocessing.Event") -> None:
    with Home(root).writing("backbeat train m3csr"):
        held.set()
        release.wait(30)


def test_a_second_writer_is_told_who_the_first_is(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(home.root, held, release))
    other.start()
    try:
        assert held.wait(30)
        with pytest.raises(HomeBusy, match=rf"`backbeat train m3csr` writing it \(process {other.pid}"):
            with home.writing("backbeat ingest"):
                pytest.fail("two writers at once")
    finally:
        release.set()
        other.join(30)
    with home.writing("backbeat ingest"):
        pass


def test_a_writer_that_was_killed_does_not_block_the_next(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(home.root, held, release))
    other.start()
    assert held.wait(30)
    other.kill()
    other.join(30)
    with home.writing("backbeat ingest"):
        pass


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with directory_written_whole(tmp_path / "a" / "b") as scratch:
        (scratch / "x").write_text("1")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "x").read_text() == "1"

    with pytest.raises(KeyboardInterrupt), directory_written_whole(tmp_path / "c") as scratch:
        (scratch / "x").write_text("1")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["a"]

    with pytest.raises(FileExistsError), directory_written_whole(tmp_path / "a"):
        pass


def test_a_text_is_replaced_in_one_step(tmp_path: Path) -> None:
    write_text_whole(tmp_path / "d" / "x.json", "old")
    write_text_whole(tmp_path / "d" / "x.json", "new")
    assert [(p.name, p.read_text()) for p in (tmp_path / "d").iterdir()] == [("x.json", "new")]


def test_a_full_disk_is_named_however_a_library_says_it(tmp_path: Path) -> None:
    import errno

    with pytest.raises(StorageFull, match=r"/p: found no space left on the disk \([\d,]+ MiB free\)"):
        with directory_written_whole(tmp_path / "p"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())
    try:
        raise RuntimeError("while saving") from ValueError("(sqlite3) database or disk is full")
    except RuntimeError as error:
        assert isinstance(storage_full_in(error), StorageFull)
    assert storage_full_in(ValueError("something else")) is None


def test_a_device_that_is_always_full(tmp_path: Path) -> None:
    with pytest.raises(StorageFull), directory_written_whole(tmp_path / "p"):
        Path("/dev/full").write_text("x" * 10_000)


def _begin_and_hang(root: Path, held: "multiprocessing.Event") -> None:
    with Home(root).writing("backbeat ingest"):
        Home(root).offline.mkdir()
        held.set()
        time.sleep(60)


def test_a_first_command_that_was_killed_leaves_a_home(home: Home, settings: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_begin_and_hang, args=(home.root, held))
    other.start()
    assert held.wait(30)
    other.kill()
    other.join(30)
    with Home.open(settings).writing("backbeat ingest"):
        assert home.exists


@pytest.mark.parametrize("content", ["", "{}", '{"format": "one"}', "[1]"])
def test_a_damaged_marker_is_named(home: Home, settings: Settings, content: str) -> None:
    home.root.mkdir()
    home.marker.write_text(content)
    with pytest.raises(BadInput, match=r"home\.json: found a damaged file"):
        Home.open(settings)


def test_a_home_that_was_moved_is_not_written(home: Home, tmp_path: Path) -> None:
    with home.writing("test"):
        pass
    home.root.rename(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match=r"made at .*/home and has been moved or copied.*move it back"):
        Home.open(load_settings(home=tmp_path / "elsewhere"))


def test_a_link_to_a_home_is_that_home(home: Home, tmp_path: Path) -> None:
    with home.writing("test"):
        pass
    (tmp_path / "link").symlink_to(home.root)
    assert Home.open(load_settings(home=tmp_path / "link")).exists


def test_a_damaged_pointer_is_named(home: Home) -> None:
    home.offline.mkdir(parents=True)
    (home.offline / "current.json").write_text("")
    with pytest.raises(BadInput, match=r"current\.json: found a damaged file"):
        current_snapshot_id(home)


def test_a_home_that_may_only_be_read_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with home.writing("test"):
        pass
    home.require_writable()
    monkeypatch.setattr("contracts.home.writable", lambda _: False)  # root, who runs these tests, may write anywhere
    with pytest.raises(BadInput, match=r"may not write to .no permission to make files there"):
        home.require_writable()
