"""``backbeat ui``."""

from typing import Annotated

import typer

from contracts.options import HomeOption, JsonOption

__all__ = ["ui"]


def ui(
    host: Annotated[str | None, typer.Option(help="Address to bind (default: BACKBEAT_UI_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port (default: BACKBEAT_UI_PORT).")] = None,
    worker: Annotated[
        bool | None,
        typer.Option("--worker/--no-worker", help="Do queued jobs in a child process. Default: in the local profile."),
    ] = None,
    browser: Annotated[bool, typer.Option("--open", help="Open it in this machine's browser.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the registry's pages until Ctrl-C: versions, gates, promotions, features, quality, audit.

    Example: `backbeat ui`, then open the link it prints
    """
    import webbrowser

    from contracts.console import emit, note
    from contracts.opening import open_home
    from registry.web.server import run_ui

    settings, place = open_home(home, ui_host=host, ui_port=port)

    def announce(url: str, link: str | None) -> None:
        text = f"registry at {url}"
        text += f"\nopen once to enter:  {link}" if link else "\nsign in with an account of `backbeat users list`"
        emit({"url": url, "link": link}, as_json=as_json, text=text)
        note("stop with Ctrl-C")
        if browser:
            webbrowser.open(link or url)

    run_ui(settings, place, settings.profile == "local" if worker is None else worker, announce)
    note("stopped")
