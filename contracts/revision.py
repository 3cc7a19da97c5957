"""Which code is running."""

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["code_revision", "library_versions"]

_RECORDED = (
    "backbeat",
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "pyarrow",
    "feast",
    "mlflow",
    "great-expectations",
    "faiss-cpu",
    "bentoml",
)


@cache
def code_revision() -> str:
    """Git commit of the running code (``-dirty`` where files differ from it), else the installed version."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD") if (root / ".git").exists() else None
    if not commit:
        return f"backbeat-{library_versions().get('backbeat', 'unknown')}"
    return f"{commit}-dirty" if git("status", "--porcelain", "--untracked-files=no") else commit


def library_versions() -> dict[str, str]:
    """Installed version of each library whose behaviour a model depends on."""
    versions = {}
    for name in _RECORDED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
