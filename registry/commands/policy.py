"""`backbeat models policy`: which gates guard which move, by which rules."""

from typing import Annotated, Any

import typer

from contracts.console import emit
from contracts.options import HomeOption, JsonOption

__all__ = ["policy"]


def policy(
    surface: Annotated[str | None, typer.Option("--surface", help="Only this one; all surfaces otherwise.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Show the rules of promotion, and where they come from. Example: `backbeat models policy --surface video-feed`

    A `policy.toml` in the home, or the file of BACKBEAT_POLICY_FILE, changes them; --json shows every key.
    """
    from contracts.home import Home
    from contracts.settings import load_settings
    from contracts.surfaces import PRIMARY_METRICS
    from registry.policy import load_policy

    settings = load_settings(home=home)
    rules = load_policy(settings, Home.open(settings))
    chosen = {surface: rules.of(surface)} if surface is not None else dict(rules.surfaces)
    source = str(rules.source) if rules.source is not None else "as shipped"
    lines = [f"policy {rules.digest}, profile {rules.profile}, {source}"]
    document: dict[str, Any] = {"digest": rules.digest, "profile": rules.profile, "source": source, "surfaces": {}}
    for name, each in chosen.items():
        said = each.rules(PRIMARY_METRICS[name])
        moves = {target: {"gates": list(move.gates), "approval": move.rule} for target, move in each.moves.items()}
        document["surfaces"][name] = {
            "moves": moves,
            "rules": said,
            "waivable": list(each.waivable),
            "keys": each.model_dump(mode="json", by_alias=True),
        }
        lines += ["", name]
        lines += [f"  → {target:<11}{', '.join(move['gates'])}; {move['approval']}" for target, move in moves.items()]
        lines += [f"  {gate}: {rule}" for gate, texts in said.items() if gate != "approval" for rule in texts]
        lines.append(f"  may be waived: {', '.join(each.waivable) or 'nothing'}")
    emit(document, as_json=as_json, text="\n".join(lines))
    return document
