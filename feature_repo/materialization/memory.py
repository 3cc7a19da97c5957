"""The memory cap of a materialization, and the size of the chunks that keep below it."""

import re
from pathlib import Path
from typing import Final

from contracts.errors import BadInput

__all__ = ["DEFAULT_MEMORY", "chunk_bytes_below", "memory_text", "parse_memory"]

DEFAULT_MEMORY: Final = 2 * 2**30
"""Bytes."""

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_COPIES = 8
"""A chunk is there as it was read, sorted, packed, and as what the store's client makes of it; with room to spare."""
_SMALLEST, _LARGEST = 2**18, 2**26
_ROOM = 64 * 2**20


def parse_memory(text: str) -> int:
    """Bytes from a size such as ``2GiB``, ``512 MiB``, ``1.5GB`` or ``1000000``.

    Raises:
        BadInput: It is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in _UNITS or float(found[1]) == 0:
        raise BadInput(
            "option --memory",
            found=repr(text),
            expected="a size such as 2GiB, 512MiB or 1.5GB",
            next_step="run `backbeat features materialize --help`",
        )
    return int(float(found[1]) * _UNITS[found[2]])


def memory_text(size: int) -> str:
    """A size for people: ``512 MiB``, ``1.5 GiB``."""
    return f"{size / 2**30:.3g} GiB" if size >= 2**30 else f"{size / 2**20:,.0f} MiB"


def chunk_bytes_below(memory: int, group_bytes: int) -> int:
    """Size of the chunks with which a process stays below a memory cap.

    Args:
        memory: The cap, bytes.
        group_bytes: The largest row group of the files to be read, which is decoded as a whole.

    Returns:
        Bytes of one chunk in Arrow's memory format.

    Raises:
        BadInput: The cap leaves no room beside the libraries.
    """
    needed = _resident() + _ROOM + 2 * group_bytes
    chunk = (memory - needed) // _COPIES
    if chunk < _SMALLEST:
        raise BadInput(
            "option --memory",
            found=memory_text(memory),
            expected=f"at least {memory_text(needed + _COPIES * _SMALLEST + 2**20)} for these views: the libraries, "
            "one row group and one chunk",
            next_step="give it more, e.g. `backbeat features materialize --memory 2GiB`",
        )
    return min(chunk, _LARGEST)


def _resident() -> int:
    """Bytes this process holds now."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
