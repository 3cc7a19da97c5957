"""The search space of a model: declared beside its options, changed on the command line."""

from collections.abc import Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from contracts.errors import BadInput, unknown_name
from training.config import RecommenderConfig, resolve_config
from training.spaces import Choice, Floats, Ints, Range

__all__ = ["contains", "distribution_of", "said", "space_of", "space_of_text"]

Space = dict[str, Range]


def space_of(config_class: type[RecommenderConfig]) -> Space:
    """What a model's options are annotated with, there or in the classes that they come from; empty for none."""
    space: Space = {}
    for name in config_class.model_fields:
        for owner in config_class.__mro__:
            field = owner.model_fields.get(name) if issubclass(owner, RecommenderConfig) else None
            declared = next((each for each in field.metadata if isinstance(each, Range)), None) if field else None
            if declared is not None:
                space[name] = declared
                break
    return space


def space_of_text(
    model: str, config_class: type[RecommenderConfig], fixed: Mapping[str, object], given: Mapping[str, str]
) -> Space:
    """The model's own space, with ranges from the command line added or in place of its own, without fixed options.

    Args:
        model: Its name, for errors.
        config_class: Its options.
        fixed: Options that have one value.
        given: Option → ``low..high``, ``low..high:log`` or values separated by commas.

    Raises:
        NotFound: An option that the model does not have.
        BadInput: A range that is impossible, that the option may not have or whose option is fixed, or no range at all.
    """
    space = {name: declared for name, declared in space_of(config_class).items() if name not in fixed}
    for name, text in given.items():
        if name not in config_class.model_fields:
            raise unknown_name(
                f"{model} option", name, config_class.model_fields, next_step="correct its name after `--space`"
            )
        if name in fixed:
            raise _impossible(
                name, text, f"--set {name}={fixed[name]} as well", "an option fixed or searched, not both"
            )
        space[name] = _Reader(model, config_class, fixed, name, text).range()
    if not space:
        raise BadInput(
            f"search space of {model}",
            found="no option",
            expected="at least one that is searched",
            next_step=f"give `--space NAME=LOW..HIGH` for one of {', '.join(config_class.model_fields)}",
        )
    return space


class _Reader:
    """Reads the range of one option."""

    def __init__(
        self, model: str, config_class: type[RecommenderConfig], fixed: Mapping[str, object], name: str, text: str
    ) -> None:
        self._model, self._class, self._fixed, self._name, self._text = model, config_class, fixed, name, text

    def range(self) -> Range:
        return self._between() if ".." in self._text else self._one_of()

    def _between(self) -> Floats | Ints:
        ends, _, scale = self._text.partition(":")
        if scale not in ("", "log"):
            raise self._refused(f"the scale {scale!r}", "`:log` or nothing after the range")
        low, high = (self._typed(end) for end in ends.split("..", 1))
        if isinstance(low, bool | str) or isinstance(high, bool | str):
            raise self._refused("ends that are no numbers", "values separated by commas")
        if not low < high:
            raise self._refused(f"{low:g} to {high:g}", "a lower end below the upper one")
        if scale and low <= 0:
            raise self._refused(f"a logarithm of {low:g}", "a lower end above 0, or a range without `:log`")
        if isinstance(low, int) and isinstance(high, int):
            return Ints(low, high, bool(scale))
        return Floats(low, high, bool(scale))

    def _one_of(self) -> Choice:
        values = tuple(self._typed(value) for value in self._text.split(","))
        if len(set(values)) < max(2, len(values)):
            raise self._refused(
                "one value" if len(values) == 1 else "a value twice", "several values, or `--set` for only one"
            )
        return Choice(values)

    def _typed(self, text: str) -> bool | int | float | str:
        try:
            config = resolve_config(self._model, self._class, {**self._fixed, self._name: text.strip()})
        except BadInput as error:
            raise self._refused(repr(text.strip()), error.expected) from None
        value = getattr(config, self._name)
        if not isinstance(value, bool | int | float | str):
            raise self._refused(f"a value of type {type(value).__name__}", "an option that is a number or a name")
        return value

    def _refused(self, found: str, expected: str) -> BadInput:
        return _impossible(self._name, self._text, found, expected)


def _impossible(name: str, text: str, found: str, expected: str) -> BadInput:
    return BadInput(
        f"option --space {name}={text}",
        found=found,
        expected=expected,
        next_step="write `--space NAME=LOW..HIGH`, `--space NAME=LOW..HIGH:log` or `--space NAME=A,B,C`",
    )


def distribution_of(declared: Range) -> BaseDistribution:
    """The same range for Optuna."""
    if isinstance(declared, Choice):
        return CategoricalDistribution(declared.values)
    if isinstance(declared, Ints):
        return IntDistribution(declared.low, declared.high, log=declared.log)
    return FloatDistribution(declared.low, declared.high, log=declared.log)


def contains(declared: Range, value: object) -> bool:
    """Whether a range has a value."""
    if isinstance(declared, Choice):
        return value in declared.values
    return isinstance(value, int | float) and declared.low <= value <= declared.high


def said(declared: Range) -> str:
    """A range as the command line takes it."""
    if isinstance(declared, Choice):
        return ",".join(map(str, declared.values))
    return f"{declared.low}..{declared.high}{':log' if declared.log else ''}"
