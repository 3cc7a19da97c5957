"""Which rules judge: a digest of their source, so that a report is not reused after a rule has changed."""

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["rule_sources", "rules_digest"]

_NOT_RULES = frozenset(
    {"commands", "differences", "impact", "mending", "override", "pages", "past_runs", "pictures"}
    | {"naming", "quarantine", "rules", "run", "tables", "texts", "trends"}
)
"""Modules that show, keep or act on verdicts and do not decide them; a new module decides until it is named here."""
_ELSEWHERE = ("encoders/probe.py", "views/clusters.py", "views/kmeans.py")
"""Of the feature repository: what encodes probes again, and what the clusters are counted with."""


def rule_sources() -> list[Path]:
    """The code that decides a verdict: what is measured, learned, compared and expected."""
    here = Path(__file__).parent
    own = [path for path in here.rglob("*.py") if path.parent != here or path.stem not in _NOT_RULES]
    return sorted([*own, *(here.with_name("feature_repo") / name for name in _ELSEWHERE)])


@cache
def rules_digest() -> str:
    """Twelve hexadecimal digits over that code."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in rule_sources())).hexdigest()[:12]
