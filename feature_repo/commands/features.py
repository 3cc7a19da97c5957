"""`backbeat features …`: define, materialize, look at."""

from typing import Annotated

import typer

from contracts.options import HomeOption, JsonOption

__all__ = ["features"]

features = typer.Typer(help="Define, compute and publish features with Feast.", no_args_is_help=True)


@features.command("apply")
def features_apply(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Define the current snapshot's features and compute the derived ones. Example: `backbeat features apply`"""
    from contracts.console import emit
    from contracts.home import Home
    from contracts.settings import load_settings
    from feature_repo.apply import apply_features

    settings = load_settings(home=home)
    place = Home.open(settings)
    place.require()
    with place.writing("backbeat features apply"):
        summary = apply_features(settings, place)
    emit(
        summary,
        as_json=as_json,
        text=f"features of snapshot {summary['snapshot']} ({summary['dataset']}): {summary['outcome']}\n"
        f"  views     {', '.join(summary['views'])}\n"
        f"  services  {', '.join(summary['services'])}",
    )


@features.command("materialize")
def features_materialize(
    force: Annotated[bool, typer.Option("--force", help="Write again even where it was done before.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the newest feature values to the online store. Example: `backbeat features materialize`"""
    from contracts.console import emit
    from contracts.home import Home
    from contracts.settings import load_settings
    from feature_repo.materialize import materialize

    settings = load_settings(home=home)
    place = Home.open(settings)
    place.require()
    with place.writing("backbeat features materialize"):
        summary = materialize(settings, place, force=force)
    emit(
        summary,
        as_json=as_json,
        text=f"snapshot {summary['snapshot']}: {summary['outcome']}\n  views  {', '.join(summary['views'])}",
    )


@features.command("status")
def features_status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the current snapshot and how far its features are. Example: `backbeat features status`"""
    from contracts.console import emit
    from contracts.home import Home
    from contracts.settings import load_settings
    from feature_repo.status import feature_status

    settings = load_settings(home=home)
    document = feature_status(settings, Home.open(settings))
    emit(
        document,
        as_json=as_json,
        text="\n".join(
            [
                f"snapshot      {document['snapshot']} ({document['dataset']}, from {document['source']})",
                *(f"  {name:<20} {rows:>12,} rows" for name, rows in document["tables"].items()),
                f"applied       {'yes' if document['applied'] else 'no: run `backbeat features apply`'}",
                f"validated     {document['validated'] or 'no: run `backbeat validate run`'}",
                f"materialized  {document['materialized'] or 'no: run `backbeat features materialize`'}",
                f"served        {document['served'] or 'nothing yet'}",
            ]
        ),
    )
