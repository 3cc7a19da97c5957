"""What all expectations of ours share: how their rules read, and a configuration that is made once."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from great_expectations.compatibility.pydantic import PrivateAttr
from great_expectations.core import ExpectationValidationResult
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.render import LegacyRendererType, RenderedStringTemplateContent
from great_expectations.render.renderer.renderer import renderer
from great_expectations.render.renderer_configuration import RendererConfiguration, RendererValueType

__all__ = ["HouseExpectation", "number"]


def number(value: float) -> str:
    """A number as people read it: four significant digits, thousands set off."""
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.4g}"


class HouseExpectation(BatchExpectation):  # type: ignore[misc]
    """Base of expectations that say their rule by a template.

    It keeps its configuration as long as no field is replaced: the library asks an expectation some 60 times for it in
    one judgement and makes it anew each time, which is half of what a judgement of a small table takes.
    """

    _made: tuple[tuple[int, ...], Any] | None = PrivateAttr(default=None)

    @property
    def configuration(self) -> ExpectationConfiguration:
        """Name and arguments, as Great Expectations stores them."""
        fields = tuple(map(id, self.__dict__.values()))
        if self._made is None or self._made[0] != fields:
            self._made = fields, super().configuration
        return self._made[1]

    @classmethod
    @abstractmethod
    def template(cls, parameters: Mapping[str, Any]) -> str:
        """The rule in words, with ``$name`` where a shown parameter stands."""

    @classmethod
    def shown(cls, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Name → parameter as it reads in the rule."""
        return {name: _in_words(value) for name, value in parameters.items() if value is not None}

    @classmethod
    def _prescriptive_template(cls, renderer_configuration: RendererConfiguration) -> RendererConfiguration:
        parameters = renderer_configuration.kwargs
        for name, value in cls.shown({name: parameters.get(name) for name in cls.args_keys}).items():
            renderer_configuration.add_param(name, RendererValueType.STRING, value)
        renderer_configuration.template_str = cls.template(parameters)
        return renderer_configuration

    @classmethod
    @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)  # type: ignore[untyped-decorator]
    def _prescriptive_renderer(
        cls,
        configuration: ExpectationConfiguration | None = None,
        result: ExpectationValidationResult | None = None,
        runtime_configuration: dict[str, Any] | None = None,
    ) -> list[RenderedStringTemplateContent]:
        configuration = configuration or (result.expectation_config if result else None)
        parameters = configuration.kwargs if configuration else {}
        template = {"template": cls.template(parameters), "params": cls.shown(parameters)}
        return [RenderedStringTemplateContent(content_block_type="string_template", string_template=template)]


def _in_words(value: Any) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
