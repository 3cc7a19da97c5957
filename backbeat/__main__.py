"""``python -m backbeat``: the same as the ``backbeat`` command."""

from backbeat.cli import main

__all__ = ()

main()
