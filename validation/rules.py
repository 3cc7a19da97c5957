"""Which rules judge: a digest of their source, so that a report is not reused after a rule has changed."""

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["rules_digest"]


@cache
def rules_digest() -> str:
    """Twelve hexadecimal digits over the code of the suites and of the facts they judge."""
    here = Path(__file__).parent
    sources = [here / "summaries.py", *sorted((here / "suites").glob("*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:12]
