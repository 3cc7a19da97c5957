import ast
import inspect
import itertools
import sys

import pytest
from pydantic import ValidationError

from contracts.errors import BadInput, NotFound
from training.config import RecommenderConfig, resolve_config
from training.models import MODELS, model_entry


@pytest.mark.parametrize("name", MODELS)
def test_every_config_round_trips_refuses_strangers_and_is_frozen(name: str) -> None:
    config_class = MODELS[name].config
    config = config_class()
    assert config_class(**config.model_dump(mode="json")) == config
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        config_class(stranger=1)
    with pytest.raises(ValidationError, match="frozen"):
        config.variant = "other"


@pytest.mark.parametrize("name", MODELS)
def test_every_option_is_documented(name: str) -> None:
    """An attribute docstring under each field, here or in the class it comes from."""
    documented = set()
    for base in MODELS[name].config.__mro__:
        if not issubclass(base, RecommenderConfig):
            break
        tree = ast.parse(inspect.getsource(sys.modules[base.__module__]))
        body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == base.__name__).body
        documented |= {
            field.target.id
            for field, text in itertools.pairwise(body)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        }
    assert set(MODELS[name].config.model_fields) <= documented


def test_text_becomes_the_type_of_the_option() -> None:
    config = resolve_config("mf", MODELS["mf"].config, {"dimension": "32", "learning_rate": "1e-4"})
    assert config.model_dump() == MODELS["mf"].config(dimension=32, learning_rate=1e-4).model_dump()


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(NotFound, match=r"mf option 'learning_rat': .* expected 'learning_rate'"):
        resolve_config("mf", MODELS["mf"].config, {"learning_rat": 1})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("dimension", "many", "mf option 'dimension': found 'many'; expected .*valid integer"),
        ("patience", "0", "mf option 'patience': found '0'; expected .*greater than or equal to 1"),
    ],
)
def test_impossible_value_says_what_is_allowed(option: str, value: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        resolve_config("mf", MODELS["mf"].config, {option: value})


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(NotFound, match=r"model 'lightgnc': .* expected 'lightgcn'"):
        model_entry("lightgnc")


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(BadInput, match=r"m3csr options: found .*'heads': 5.*; expected heads \(5\) must divide"):
        resolve_config("m3csr", MODELS["m3csr"].config, {"heads": 5})
