"""`backbeat features encode` and `use`: embeddings from media and text, and which revision of them is in use."""

from typing import TYPE_CHECKING, Annotated

import typer

from contracts.options import HomeOption, JsonOption, OnOption

if TYPE_CHECKING:
    from feature_repo.encoders.encoded import Encoded

__all__ = ["encode", "show_encoded", "use"]


def encode(
    encoder: Annotated[str, typer.Argument(help="Name of the encoder, e.g. resnet50, vggish, sentence-bert.")],
    entity: Annotated[str | None, typer.Option(help="video, post or music (default: the encoder's first).")] = None,
    weights: Annotated[str | None, typer.Option(help="File with the weights, or hub:OWNER/NAME[@REVISION].")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Uniform frames of a video, for encoders of images.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Items that are encoded at once.")] = 16,
    device: Annotated[str | None, typer.Option(help="Torch device (default: BACKBEAT_DEVICE).")] = None,
    available_from: Annotated[
        str | None, typer.Option(help="End of the weights' training: no vector counts as known before.")
    ] = None,
    on: OnOption = "local",
    beside: Annotated[bool, typer.Option("--beside", help="Keep embeddings of another spec; add these.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encode what is not encoded yet. Example: `backbeat features encode resnet50 --weights resnet50.pth`"""
    from contracts.database import Database
    from contracts.opening import open_home
    from feature_repo.encoders.encode import encode_snapshot
    from feature_repo.encoders.work import encoder_for, options_for

    settings, place = open_home(home, device=device)
    encoder_for(encoder, entity)
    on_ray = on == "ray"
    options = options_for(settings, weights, frames, batch, available_from, on_ray=on_ray)
    database = Database(settings, place)
    cluster = settings if on_ray else None
    done = encode_snapshot(place, database, encoder, options, entity=entity, beside=beside, cluster=cluster)
    show_encoded(done, as_json)


def show_encoded(done: "Encoded", as_json: bool) -> None:
    """Print how an encoding went, and end with its exit code."""
    from contracts.console import emit, note

    document = done.document()
    rate = f", {document['items_per_s']} items/s" if document["items_per_s"] else ""
    text = (
        f"{done.name} of {done.spec.entity} by {done.encoder}: {document['outcome']}\n"
        f"  snapshot  {done.snapshot.id}\n"
        f"  spec      {done.spec.digest} ({done.spec.view})\n"
        f"  items     {done.items:,}: {done.encoded:,} encoded{rate}, {done.skipped:,} encoded before, "
        f"{done.absent:,} with nothing to encode, {len(done.faults):,} unreadable\n"
    )
    error = done.error
    emit(document | (error.as_dict() if error else {}), as_json=as_json, text=text)
    if error is not None:
        note(f"error: {error}")
        raise typer.Exit(error.exit_code)


def use(
    name: Annotated[str, typer.Argument(help="Name of the embeddings, e.g. visual or post_textual.")],
    digest: Annotated[str, typer.Argument(help="First digits of the digest of the revision's spec.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put another revision of embeddings in use. Example: `backbeat features use visual 1a2b3c4d`"""
    from contracts.console import emit
    from contracts.opening import open_home
    from feature_repo.encoders.revisions import use_revision

    _, place = open_home(home)
    with place.writing(f"backbeat features use {name} {digest}"):
        snapshot, after, before = use_revision(place, name, digest)
    document = {
        "snapshot": snapshot.id,
        "name": name,
        "outcome": "unchanged" if after == before else "switched",
        "in_use": after.digest,
        "before": before.digest,
    }
    back = "" if after == before else f"\n  back      backbeat features use {name} {before.digest[:8]}"
    emit(
        document,
        as_json=as_json,
        text=f"{name}: {after.encoder} {after.digest} in use\n  snapshot  {snapshot.id}{back}",
    )
