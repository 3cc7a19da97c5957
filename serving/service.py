"""The BentoML service. Run it with ``backbeat serve``, or ``bentoml serve serving.service:RecommenderService``.

BentoML's supervisor imports this module too, to learn what to run; so what is heavy loads in the worker only.
"""

import os
from typing import TYPE_CHECKING

import bentoml

from contracts.home import Home
from contracts.process import prepare_process
from contracts.settings import load_settings
from serving.app import build_app
from serving.faults import report_fault
from serving.lifeline import end_with_parent

if TYPE_CHECKING:
    from serving.engine import Engine

__all__ = ["RecommenderService"]

_SUPERVISOR = os.getppid()


def _open_engine() -> "Engine":
    end_with_parent(_SUPERVISOR)
    settings = load_settings()
    prepare_process(settings.threads)
    home = Home.open(settings)
    try:
        from serving.loader import open_engine

        return open_engine(settings, home)
    except Exception as error:
        report_fault(home, _SUPERVISOR, error)
        raise


@bentoml.service(
    name="recommender",
    workers=1,
    traffic={"timeout": 30},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(build_app(_open_engine), path="/")
class RecommenderService:
    """Videos for a user, by the champion of the ``video-feed`` surface. Endpoints: see ``serving/app.py``."""
