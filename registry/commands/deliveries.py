"""``models deliveries``."""

from typing import Annotated, Any

import typer

from contracts.console import emit
from contracts.options import HomeOption, JsonOption

__all__ = ["deliveries"]


def deliveries(
    send: Annotated[bool, typer.Option("--send", help="First try what is due, here and now.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the newest.")] = 20,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Show what was told to the webhook, and how that went. Example: `backbeat models deliveries`"""
    from dataclasses import asdict

    from contracts.opening import open_home
    from registry import webhook
    from registry.opening import open_registry

    settings, place = open_home(home)
    with open_registry(settings, place) as registry:
        if send:
            webhook.send_waiting(settings, registry.database, stay=0)
        found = webhook.deliveries(registry.database, limit)
    lines = [
        f"{d.at[:19]} UTC  {d.event:<11} {d.surface:<17} {d.state}, {d.attempts} attempts"
        + (f", {d.error}" if d.error else "")
        for d in found
    ]
    nothing = "Nothing was told yet."
    if settings.webhook_url is None:
        nothing = "No webhook is set: BACKBEAT_WEBHOOK_URL names one, and BACKBEAT_WEBHOOK_SECRET signs."
    document = {"deliveries": [asdict(d) for d in found]}
    emit(document, as_json=as_json, text="\n".join(lines) or nothing)
    return document
