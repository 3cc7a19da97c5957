import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from contracts.errors import BadInput, NotFound
from training.models import MODELS
from training.models.mf import MfConfig
from training.spaces import Choice, Floats, Ints, Range
from training.tuning.space import contains, distribution_of, said, space_of, space_of_text


@pytest.mark.parametrize("name", MODELS)
def test_the_defaults_of_every_model_are_allowed_and_lie_in_its_space(name: str) -> None:
    config_class = MODELS[name].config
    space = space_of(config_class)
    assert bool(space) == (name != "popularity")
    for option, declared in space.items():
        assert contains(declared, getattr(config_class(), option)), option
        ends = declared.values if isinstance(declared, Choice) else (declared.low, declared.high)
        for value in ends:
            assert config_class.__pydantic_validator__.validate_assignment(
                config_class.model_construct(), option, value
            )


def test_a_subclass_that_changes_a_default_keeps_the_range_and_may_declare_its_own() -> None:
    space = space_of(MfConfig)
    assert space["learning_rate"] == Floats(3e-4, 3e-2, log=True)  # declared by LearnedConfig, its default is MF's own
    assert space["regularisation"] == Floats(1e-4, 1.0, log=True)
    assert space_of(MODELS["dl-bgm"].config)["dimension"] == Choice((100, 200, 400))
    assert not {"variant", "max_epochs", "loss"} & space.keys()


@pytest.mark.parametrize(
    ("option", "text", "declared"),
    [
        ("learning_rate", "1e-4..1e-2:log", Floats(1e-4, 1e-2, log=True)),
        ("learning_rate", "0.1..0.5", Floats(0.1, 0.5)),
        ("negatives", "1..4", Ints(1, 4)),
        ("dimension", "8..64:log", Ints(8, 64, log=True)),
        ("dimension", "8, 16,32", Choice((8, 16, 32))),
        ("loss", "bpr,logistic", Choice(("bpr", "logistic"))),
        ("gradient_clip", "0.5..5", Floats(0.5, 5.0)),
    ],
)
def test_a_range_is_read_in_the_type_of_its_option_and_said_as_it_is_read(
    option: str, text: str, declared: Range
) -> None:
    space = space_of_text("mf", MfConfig, {}, {option: text})
    assert space[option] == declared
    assert space_of_text("mf", MfConfig, {}, {option: said(declared)})[option] == declared
    assert space.keys() == {*space_of(MfConfig), option}


def test_a_fixed_option_is_not_searched() -> None:
    assert space_of_text("mf", MfConfig, {"dimension": "8"}, {}).keys() == space_of(MfConfig).keys() - {"dimension"}


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("learning_rate", "1e-2..1e-4", r"found 0.01 to 0.0001; expected a lower end below the upper one"),
        ("learning_rate", "0.1..0.1", r"found 0.1 to 0.1; expected a lower end below"),
        ("learning_rate", "-1..1", r"found '-1'; expected .*greater than 0"),
        ("learning_rate", "1e-4..x", r"found 'x'; expected .*valid number"),
        ("learning_rate", "1e-4..1e-2:lin", r"found the scale 'lin'; expected `:log` or nothing"),
        ("regularisation", "0..1:log", r"found a logarithm of 0; expected a lower end above 0"),
        ("dimension", "8..16.5", r"found '16.5'; expected .*valid integer"),
        ("dimension", "8", r"found one value; expected several values, or `--set`"),
        ("dimension", "8,8", r"found a value twice; expected several values"),
        ("dimension", "", r"found ''; expected .*valid integer"),
        ("loss", "bpr,hinge", r"found 'hinge'; expected .*'bpr' or 'logistic'"),
        ("variant", "a..b", r"found ends that are no numbers; expected values separated by commas"),
    ],
)
def test_impossible_ranges_are_refused(option: str, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=rf"option --space {option}={text}: {message}.*Next: write `--space NAME=LOW"):
        space_of_text("mf", MfConfig, {}, {option: text})


def test_a_range_of_lists_is_refused() -> None:
    from training.models.m3csr_config import M3csrConfig
    from training.tuning.space import space_of_text

    class Listed(M3csrConfig):
        listed: bytes = b""
        """Of no plain type."""

    with pytest.raises(BadInput, match="found a value of type bytes; expected an option that is a number or a name"):
        space_of_text("mf", Listed, {}, {"listed": "a,b"})


def test_who_fixes_and_searches_an_option_is_refused() -> None:
    with pytest.raises(BadInput, match=r"dimension=8,16: found --set dimension=4 as well; expected an option fixed or"):
        space_of_text("mf", MfConfig, {"dimension": "4"}, {"dimension": "8,16"})


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(NotFound, match=r"mf option 'dimensions': .* expected 'dimension'.*after `--space`"):
        space_of_text("mf", MfConfig, {}, {"dimensions": "8,16"})


def test_a_model_without_a_space_needs_one() -> None:
    with pytest.raises(BadInput, match="search space of popularity: found no option; expected at least one"):
        space_of_text("popularity", MODELS["popularity"].config, {}, {})


def test_ranges_are_those_of_optuna() -> None:
    assert distribution_of(Choice((1, 2))) == CategoricalDistribution((1, 2))
    assert distribution_of(Ints(1, 8, log=True)) == IntDistribution(1, 8, log=True)
    assert distribution_of(Floats(0.0, 1.0)) == FloatDistribution(0.0, 1.0)
    assert contains(Ints(1, 8), 8)
    assert not contains(Ints(1, 8), 9)
    assert not contains(Floats(0.0, 1.0), "x")
    assert not contains(Choice((1, 2)), 3)
