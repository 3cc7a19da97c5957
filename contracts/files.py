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

__all__ = ["directory_written_whole", "file_sha256", "write_text_whole"]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def _full_disk_named(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Arrow reports a full disk as text in an OSError without an errno of its own.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and "No space left" not in str(error):
            raise
        free = shutil.disk_usage(target.parent).free
        raise StorageFull(
            target,
            found=f"no space left on the disk ({free / 2**20:,.0f} MiB free)",
            expected="room for the whole of it; the part that was written has been removed",
            next_step="free some space or set BACKBEAT_HOME to another disk, then run the same command again",
        ) from error


@contextmanager
def directory_written_whole(target: Path) -> Iterator[Path]:
    """Yield an empty sibling directory that becomes ``target`` on success and vanishes on any failure.

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
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text_whole(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step, durable before it is visible.

    Raises:
        StorageFull: The disk ran out of space.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with _full_disk_named(path):
            with scratch.open("w", encoding="utf-8") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
