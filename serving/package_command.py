"""``backbeat package``."""

from typing import Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption

__all__ = ["package"]

_PATIENCE_S = 600.0


def package(
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that answer (default: BACKBEAT_SERVE_WORKERS).")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs of each of them (default: BACKBEAT_SERVE_GPUS).")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Build a Bento: the code, the champions, exact versions of what they need, and how they are served.

    Fetches nothing. The Bento serves its champions also where the registry does not answer, and follows the registry
    as soon as it does.

    Example: `backbeat package`, then `bentoml serve recommender:TAG` with the BENTOML_HOME that it shows
    """
    import json
    import shlex

    from contracts.console import emit
    from contracts.errors import ServiceUnavailable
    from contracts.opening import open_home
    from contracts.process import fault_of, run_module
    from contracts.settings import environment_of_child, load_settings
    from registry.store import ModelStore
    from serving.surface import no_champion

    _, place = open_home(home)
    settings = load_settings(home=place.root, serve_workers=workers, serve_gpus=gpus)
    store = ModelStore(settings, place)
    if not any(store.champion(surface) for surface in settings.surfaces):
        raise no_champion(*settings.surfaces)
    environment = environment_of_child(settings) | {"BENTOML_HOME": str(place.bentos)}
    done = run_module("serving.packaging", patience=_PATIENCE_S, environment=environment)
    if (fault := fault_of(done)) is not None:
        raise ServiceUnavailable(
            "building the Bento",
            found=fault,
            expected="a Bento of the champions",
            next_step="correct what is named, and build again",
        )
    document = {**json.loads(done.stdout), "bentoml_home": str(place.bentos)}
    champions = ", ".join(f"{surface} version {number}" for surface, number in document["champions"].items())
    command = f"BENTOML_HOME={shlex.quote(str(place.bentos))} BACKBEAT_HOME={shlex.quote(str(place.root))}"
    emit(
        document,
        as_json=as_json,
        text=f"packed {document['tag']}: {champions}, {document['requirements']} exact requirements\n"
        f"serve it: {command} bentoml serve {document['tag']}",
    )
    return document
