"""The memory cap of a materialization, and the size of the chunks that keep below it."""

import re
from pathlib import Path
from typing import Final

from contracts.errors import BadInput

__all__ = ["DEFAULT_MEMORY", "chunk_bytes_below", "memory_text", "parse_memory"]

DEFAULT_MEMORY: Final = 2 * 2**30
"""Bytes; more in a process that holds much already, such as a notebook."""

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_COPIES = 8
"""A chunk is there as it was read, as it was gathered, packed, and as what the store's client makes of it."""
_SMALLEST, _LARGEST = 2**18, 2**26
_ROOM = 192 * 2**20
"""What reading takes beside the chunk: slices of the file, and pages that the allocators keep."""
_PLANNING, _PLANNED = 200, 64
"""Bytes for each row of the file while a plan is made, and of what stays of it; both measured."""


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


def chunk_bytes_below(memory: int | None, group_bytes: int, rows: int) -> int:
    """Size of the chunks with which a process stays below a memory cap.

    Args:
        memory: The cap, bytes; None for the default.
        group_bytes: The largest row group of the files to be read.
        rows: Rows of the longest file.

    Returns:
        Bytes of one chunk in Arrow's memory format.

    Raises:
        BadInput: The cap leaves no room beside the libraries.
    """
    resident, reading = _resident(), _PLANNED * rows + _ROOM + 2 * group_bytes
    if memory is None:
        memory = max(DEFAULT_MEMORY, resident + DEFAULT_MEMORY // 2)
    chunk = (memory - resident - reading) // _COPIES
    needed = resident + max(_PLANNING * rows, reading + _COPIES * _SMALLEST)
    if memory < needed:
        raise BadInput(
            "option --memory",
            found=memory_text(memory),
            expected=f"at least {memory_text(needed + 2**20)} for these views: the libraries, the keys of the longest "
            "table and one chunk",
            next_step=f"give it more, e.g. `backbeat features materialize --memory {-(-needed // 2**30) + 1}GiB`",
        )
    return min(chunk, _LARGEST)


def _resident() -> int:
    """Bytes this process holds now."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
