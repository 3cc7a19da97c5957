"""Keeping Feast's banners, colours and progress bars from the user."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

__all__ = ["quietly"]


@contextmanager
def quietly() -> Iterator[None]:
    """Drop what is printed or warned inside; exceptions pass. Not for threads: streams belong to the process.

    Importing Feast also turns deprecation warnings on for the whole process; this puts the filters back.
    """
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
