"""How a command comes to its settings and to the home that they name."""

from pathlib import Path

from contracts.home import Home
from contracts.settings import Settings, load_settings

__all__ = ["open_home"]


def open_home(home: Path | None, **overrides: object) -> tuple[Settings, Home]:
    """The settings of a command, and its home, which must be there.

    Args:
        home: What ``--home`` says; the settings' own if None.
        **overrides: Other settings given on the command line; None where they are not.

    Raises:
        NotFound: There is no home, or a setting is unknown.
        BadInput: A setting has a bad value, or the directory is no home of this version's.
    """
    settings = load_settings(home=home, **overrides)
    place = Home.open(settings)
    place.require()
    return settings, place
