"""Writing so that a reader never meets half a file."""

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.errors import StorageFull

__all__ = [
    "directory_written_whole",
    "file_sha256",
    "file_stamp",
    "file_state",
    "file_written_whole",
    "storage_full_in",
    "writable",
    "write_bytes_whole",
    "write_text_whole",
]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def file_stamp(path: Path) -> str:
    """Tells a file from one that was written later: its size in bytes and when it was written.

    Raises:
        FileNotFoundError: There is none.
    """
    state = path.stat()
    return f"{state.st_size}:{state.st_mtime_ns}"


def file_state(path: Path) -> str:
    """:func:`file_stamp`, and what no copy can be given: which file on the disk it is, and when that last changed.

    Raises:
        FileNotFoundError: There is none.
    """
    state = path.stat()
    return f"{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}:{state.st_ino}"


def writable(directory: Path) -> bool:
    """Whether this process may make files in an existing directory."""
    return os.access(directory, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # Arrow and SQLite report a full disk as text, without an errno of their own.
    return "No space left on device" in str(error) or "database or disk is full" in str(error)


def storage_full_in(error: BaseException, target: Path | None = None) -> StorageFull | None:
    """The error to show where an exception, or one it came from, says that the disk is full; else None.

    Args:
        error: What was raised.
        target: What was being written, where the caller knows.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, StorageFull):
            return link
        if _says_full(link):
            name = target or getattr(link, "filename", None) or "the disk"
            place = target.parent if target else Path.cwd()
            return StorageFull(
                name,
                found=f"no space left on the disk ({shutil.disk_usage(place).free / 2**20:,.0f} MiB free)",
                expected="room for the whole of it; the part that was written has been removed",
                next_step="free some space or set BACKBEAT_HOME to another disk, then run the same command again",
            )
        link = link.__cause__ or link.__context__
    return None


@contextmanager
def _full_disk_named(target: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        full = storage_full_in(error, target)
        if full is None:
            raise
        raise full from error


def _make_durable(path: Path) -> None:
    """Have the disk keep a file, or the names in a directory, before anybody relies on it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def directory_written_whole(target: Path) -> Iterator[Path]:
    """Yield an empty sibling directory that becomes ``target``, durably, on success and vanishes on any failure.

    Raises:
        StorageFull: The disk ran out of space.
        FileExistsError: ``target`` came into being meanwhile.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.partial"
    scratch.mkdir()
    try:
        with _full_disk_named(target):
            yield scratch
            if target.exists():
                raise FileExistsError(target)
            for path in (*(path for path in scratch.rglob("*") if path.is_file()), scratch):
                _make_durable(path)
            scratch.rename(target)
            _make_durable(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def file_written_whole(path: Path) -> Iterator[Path]:
    """Yield the path of a sibling that replaces ``path`` on success, durable before it is visible, and vanishes else.

    Writers of one path do not disturb each other: the last one's file stays. The sibling of a writer that is killed
    remains (``.<name>.<digits>.partial``); whoever knows that nobody else writes may remove it.

    Raises:
        StorageFull: The disk ran out of space.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with _full_disk_named(path):
            yield scratch
            with scratch.open("rb") as handle:
                os.fsync(handle.fileno())
            scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_text_whole(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step, durable before it is visible.

    Raises:
        StorageFull: The disk ran out of space.
    """
    write_bytes_whole(path, text.encode())


def write_bytes_whole(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` in one step, durable before it is visible.

    Raises:
        StorageFull: The disk ran out of space.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with _full_disk_named(path):
            with scratch.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
