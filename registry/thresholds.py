"""What each gate asks for, typed, each with its rule in words."""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "GATE_NAMES",
    "MOVES",
    "GateName",
    "Guardrail",
    "IndexRule",
    "LatencyRule",
    "Move",
    "MovePolicy",
    "OfflineRule",
    "ShadowRule",
    "SurfacePolicy",
    "ValidationRule",
]

GateName = Literal[
    "package", "validation", "offline-quality", "guardrails", "index-recall", "latency", "shadow", "approval"
]
GATE_NAMES: tuple[str, ...] = get_args(GateName)
Move = Literal["champion", "challenger", "shadow", "candidate", "rollback"]
MOVES: tuple[str, ...] = get_args(Move)

_Share = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0)]

_PACKAGE = "every file has its sealed hash, and in a clean process the package loads and repeats its golden answers"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class MovePolicy(_Part):
    """What a move asks for."""

    asked: tuple[GateName, ...] = Field(min_length=1, alias="gates")
    """Gates in their order, all of them asked whatever the others say; ``approval`` need not be named."""
    approvals: int = Field(default=0, ge=0, le=5)
    """How many people must have approved it; the gate ``approval`` is asked where there is one."""
    author_may_approve: bool = False
    """Whether who asked for the move may be one of them."""

    @property
    def gates(self) -> tuple[str, ...]:
        """The gates, ``approval`` last where somebody has to approve."""
        others = tuple(gate for gate in self.asked if gate != "approval")
        return (*others, "approval") if self.approvals else others

    @property
    def rule(self) -> str:
        """The approvals in words."""
        if self.approvals == 0:
            return "nobody has to approve"
        people = "1 person" if self.approvals == 1 else f"{self.approvals} people"
        return f"{people} approved it, {'the author counts' if self.author_may_approve else 'not counting its author'}"


class ValidationRule(_Part):
    """On the data that the version was trained on."""

    max_age_days: _Positive
    """Days after which a report has to be made anew."""

    @property
    def rule(self) -> str:
        """In words."""
        return (
            "the newest validation report on the version's data snapshot passed, or somebody has accepted it, "
            f"and it is at most {self.max_age_days:g} days old"
        )


class OfflineRule(_Part):
    """On the primary metric beside the champion's."""

    margin: _Share
    """Most that a version may be worse by, as a share of the champion's figure."""
    superiority: bool
    """Whether it must be better than the champion, and not only no worse."""
    least_users: int = Field(ge=1)
    """Fewer users cannot tell two versions apart."""

    def rule(self, metric: str) -> str:
        """In words."""
        asked = (
            "above 0"
            if self.superiority
            else f"no further below 0 than {100 * self.margin:g} % of the champion's figure (non-inferiority)"
        )
        return (
            f"{metric} by one protocol on this version's data: the 95 % interval of its difference from "
            f"the champion's, by a paired bootstrap over at least {self.least_users} users, lies {asked}"
        )

    def first_rule(self, metric: str) -> str:
        """In words, where there is no champion yet."""
        return f"there is no champion yet, so that any sound {metric} will do"


class Guardrail(_Part):
    """On one metric that must not be paid with."""

    metric: str = Field(min_length=1)
    """Its name in the run; with ``*`` all that fit are judged."""
    floor: float | None = None
    """Least value, whatever the champion has; then more is better."""
    ceiling: float | None = None
    """Most value, likewise; then less is better."""
    change: float = Field(ge=0)
    """How much worse than the champion's it may be, as a share of the champion's."""
    least_events: int = Field(default=0, ge=0)
    """Held-out events below which a slice is too small to be judged; 0 where it is no slice."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.floor is None) == (self.ceiling is None):
            raise ValueError("either a floor or a ceiling is needed, and not both")
        return self

    @property
    def rule(self) -> str:
        """In words."""
        if self.floor is not None:
            bound = f"{self.metric} is at least {self.floor:g} and at most {self.change:.0%} below the champion's"
        else:
            bound = f"{self.metric} is at most {self.ceiling:g} and at most {self.change:.0%} above the champion's"
        return bound + (f" (from {self.least_events} events on)" if self.least_events else "")


class IndexRule(_Part):
    """On what the index loses."""

    k: int = Field(ge=1)
    """Length of the lists."""
    floor: _Share
    """Least share of the exact best k that the index returns."""

    @property
    def rule(self) -> str:
        """In words."""
        return f"the index returns at least {self.floor:g} of the exact best {self.k} items"


class LatencyRule(_Part):
    """On the time of a request, as measured when the package was made."""

    p99_ms: _Positive
    """Budget of the 99th percentile, in milliseconds."""

    @property
    def rule(self) -> str:
        """In words."""
        return f"99 % of requests are scored within {self.p99_ms:g} ms, features already read"


class ShadowRule(_Part):
    """On what the version did as shadow of the present champion."""

    requests: int = Field(ge=1)
    """Fewest requests that both were asked."""
    error_share: _Share
    """Most of them that it may have failed on."""
    p99_ms: _Positive
    """Budget of the 99th percentile of its answers, in milliseconds."""
    overlap: _Share
    """Least mean overlap of its lists with the champion's: two that have nothing in common are a fault, as a rule."""
    live_verdict: Literal["if-there", "required"]
    """Whether the verdict on live feedback must say promote; one that says reject refuses in any case."""
    max_age_days: _Positive
    """Days after which the comparison has to be made anew."""

    @property
    def rule(self) -> str:
        """In words."""
        live = " and the verdict on live feedback says promote" if self.live_verdict == "required" else ""
        return (
            f"as shadow of the champion it answered {self.requests:,} requests or more within the last "
            f"{self.max_age_days:g} days, at most {self.error_share:.2%} of them with an error, its p99 within "
            f"{self.p99_ms:g} ms, the overlap with the champion's lists at least {self.overlap:g}{live}"
        )


class SurfacePolicy(_Part):
    """All rules of one surface."""

    moves: dict[Move, MovePolicy]
    validation: ValidationRule
    offline: OfflineRule
    guardrails: dict[str, Guardrail]
    index: IndexRule
    latency: LatencyRule
    shadow: ShadowRule
    waivable: tuple[GateName, ...]
    """Gates that an approver may waive, with a reason."""

    @model_validator(mode="after")
    def _every_move(self) -> Self:
        missing = [name for name in MOVES if name not in self.moves]
        if missing:
            raise ValueError(f"no rule for moves to {', '.join(missing)}")
        return self

    def move(self, target: str) -> MovePolicy:
        """What a move asks for.

        Args:
            target: A state, or ``rollback``.

        Raises:
            KeyError: No gates guard that: retirements ask nobody.
        """
        return self.moves[target]  # type: ignore[index]

    def rules(self, metric: str) -> dict[str, list[str]]:
        """Gate → its rules in words.

        Args:
            metric: The surface's primary metric.
        """
        return {
            "package": [_PACKAGE],
            "validation": [self.validation.rule],
            "offline-quality": [self.offline.rule(metric), self.offline.first_rule(metric)],
            "guardrails": [f"{name}: {each.rule}" for name, each in self.guardrails.items()],
            "index-recall": [self.index.rule],
            "latency": [self.latency.rule],
            "shadow": [self.shadow.rule],
            "approval": [f"{target}: {each.rule}" for target, each in self.moves.items()],
        }
