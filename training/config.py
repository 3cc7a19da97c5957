"""Typed configuration that refuses strangers."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.errors import BadInput, unknown_name
from training.spaces import Choice, Floats, Ints

__all__ = ["LearnedConfig", "RecommenderConfig", "resolve_config"]


class RecommenderConfig(BaseModel):
    """What every model can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    variant: str = Field(default="default", min_length=1, max_length=64)
    """Label under which the version is listed and reported; it changes nothing else."""


class LearnedConfig(RecommenderConfig):
    """What every model trained by gradient on samples of the training pairs can be told.

    An option's annotation is what tuning searches by itself; a subclass that only changes the default keeps it.
    """

    dimension: Annotated[int, Choice((16, 32, 64, 128))] = Field(default=64, ge=1)
    """Width d of an embedding."""

    learning_rate: Annotated[float, Floats(3e-4, 3e-2, log=True)] = Field(default=1e-3, gt=0)
    """Step size of Adam."""

    batch_size: Annotated[int, Choice((256, 512, 1024, 2048, 4096, 8192))] = Field(default=2048, ge=1)
    """Training pairs per step."""

    max_epochs: int = Field(default=200, ge=1)
    """Passes over the training pairs, at most."""

    patience: int = Field(default=10, ge=1)
    """Epochs without a better validation Recall@20 after which training stops."""

    negatives: Annotated[int, Ints(1, 8)] = Field(default=1, ge=1)
    """Items drawn against each positive."""

    sampler: Literal["uniform", "popularity", "in-batch", "hard"] = "uniform"
    """Where negatives come from: all items the user has not seen alike, by their views, other users' positives of the
    batch, or of several uniform draws the one that the model likes best."""

    averaging: float | None = Field(default=None, gt=0, lt=1)
    """Decay of a running mean of the parameters over the steps, which is what is validated and kept; the parameters
    themselves if unset."""

    gradient_clip: float | None = Field(default=None, gt=0)
    """Largest norm of a step's gradient, which is scaled down to it; none if unset."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """``bf16``: the objective runs in bfloat16 where that is safe; parameters and sums stay in float32."""


Config = TypeVar("Config", bound=RecommenderConfig)


def resolve_config(model: str, config_class: type[Config], overrides: Mapping[str, object]) -> Config:
    """A model's defaults with some options replaced.

    Args:
        model: Name of the model, for the error.
        config_class: Its configuration.
        overrides: Option name → value; text is converted to the option's type.

    Raises:
        NotFound: An option that the model does not have.
        BadInput: A value of the wrong type or outside its range.
    """
    for name in overrides:
        if name not in config_class.model_fields:
            raise unknown_name(
                f"{model} option", name, config_class.model_fields, next_step="correct its name after `--set`"
            )
    try:
        return config_class(**dict(overrides))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise BadInput(
            f"{model} option {name!r}" if name else f"{model} options",
            found=repr(first["input"]),
            expected=first["msg"].removeprefix("Value error, "),
            next_step=f"give `--set {name or 'NAME'}=VALUE` a value of that kind",
        ) from None
