"""The BentoML service. Run it with ``backbeat serve``, or ``bentoml serve serving.service:RecommenderService``.

BentoML's supervisor imports this module too, to learn what to run; so what is heavy loads in the worker only.
"""

import os
import sys
from typing import TYPE_CHECKING

import bentoml

from contracts.home import Home
from contracts.process import prepare_process
from serving.app import build_app
from serving.faults import report_fault
from serving.lifeline import end_with_parent
from serving.packed import Packed, served_settings

if TYPE_CHECKING:
    from serving.surfaces import Surfaces

__all__ = ["RecommenderService"]

_SUPERVISOR = os.getppid()

prepare_process()  # whoever runs it by `bentoml serve` reports no usage either
_SETTINGS = served_settings(Packed.beside_the_code())

_LAST_RESORT_S = 5.0
"""By which BentoML, whose own error has another form, is more patient."""

_SWITCH_S = 0.0005
"""After which a thread hands the interpreter on, so that a request waits that long for a shadow and not 5 ms."""


def _open_surfaces() -> "Surfaces":
    end_with_parent(_SUPERVISOR)
    settings = _SETTINGS
    prepare_process(settings.threads)
    sys.setswitchinterval(_SWITCH_S)
    home = Home.open(settings)
    try:
        from serving.loader import open_surfaces

        return open_surfaces(settings, home)
    except Exception as error:
        report_fault(home, _SUPERVISOR, error)
        raise


@bentoml.service(
    name="recommender",
    workers=_SETTINGS.serve_workers,
    traffic={"timeout": _SETTINGS.serve_timeout + _LAST_RESORT_S},
    resources={"gpu": _SETTINGS.serve_gpus} if _SETTINGS.serve_gpus else {},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(build_app(_open_surfaces, _SETTINGS.serve_timeout), path="/")
class RecommenderService:
    """Videos and music for users, by the champion of each surface. Endpoints: see ``serving/app.py``."""
