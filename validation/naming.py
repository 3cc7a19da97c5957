"""Names of files in a report's directory, after what they show."""

import hashlib
import re

__all__ = ["file_name"]


def file_name(shown: str, ending: str) -> str:
    """A name that no two things share and every file system and browser takes as it is.

    Args:
        shown: What the file shows, such as a table's name.
        ending: Of the name, with its dot.

    Returns:
        What is shown itself; where it has characters other than letters, digits and ``_.-``, these as ``-``, and a hash
        of what they were.
    """
    plain = re.sub(r"[^\w.-]", "-", shown, flags=re.ASCII)
    if plain != shown:
        plain += "-" + hashlib.sha256(shown.encode()).hexdigest()[:8]
    return plain + ending
