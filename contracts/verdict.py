"""The verdict on a challenger or a shadow: what it had to show, what was found, what follows.

Serving works it out (``serving/analysis/``) and stores its JSON form in the body of a shadow report; the registry's
gate and the UI read it.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Decision", "Guardrail", "LiveVerdict", "MetricFinding", "Reason", "Rule", "State"]

Decision = Literal["promote", "hold", "reject"]

Reason = Literal[
    "better",
    "guardrail_broken",
    "no_relevant_gain",
    "broken_split",
    "not_measured",
    "too_few_requests",
    "too_few_users",
    "undecided",
]

State = Literal["better", "no_relevant_gain", "kept", "broken", "open"]


class Guardrail(BaseModel):
    """A metric that must not get worse by its margin (non-inferiority)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    margin: float = Field(gt=0)
    """Harm that is too much, in units of the measured change: .1 of a lift is 10 %, .001 of a rate is one in a
    thousand."""
    harm: Literal["higher", "lower"]
    """The direction in which it gets worse."""

    @model_validator(mode="after")
    def _some_can_be_lost(self) -> Self:
        if self.harm == "lower" and self.margin >= 1:
            raise ValueError(f"a margin of {self.margin:g} allows the challenger to lose all of {self.metric}")
        return self


class Rule(BaseModel):
    """When to promote, hold or reject.

    All intervals together hold at all looks with ``confidence``: what is left to err is shared out evenly among the
    objective and the guardrails.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: str = "ctr"
    """The metric that must get higher, measured as a lift."""
    minimum_effect: float = Field(default=0.01, gt=0)
    """Least lift that is worth a promotion; .01 is 1 %. A challenger that surely has less is rejected."""
    guardrails: tuple[Guardrail, ...] = (
        Guardrail(metric="errors", margin=0.005, harm="higher"),
        Guardrail(metric="latency_p99", margin=0.2, harm="higher"),
    )
    minimum_requests: int = Field(default=1_000, ge=1)
    """Of the arm that has fewer; before these the verdict is hold."""
    minimum_users: int = Field(default=200, ge=2)
    """Of the arm that has fewer, behind each interval that is right for many users only."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    split_alpha: float = Field(default=0.001, gt=0, lt=1)
    """Always-valid p-value of the sample ratio at or below which nothing is concluded."""

    @model_validator(mode="after")
    def _metrics_are_named_once(self) -> Self:
        names = [self.objective, *(guardrail.metric for guardrail in self.guardrails)]
        if len(set(names)) < len(names):
            raise ValueError(f"a metric is named twice: {', '.join(names)}")
        return self

    @property
    def alpha(self) -> float:
        """Chance to err that each interval may have."""
        return (1 - self.confidence) / (1 + len(self.guardrails))


class MetricFinding(BaseModel):
    """What is known of one metric."""

    model_config = ConfigDict(frozen=True)

    metric: str
    role: Literal["objective", "guardrail"]
    threshold: float
    """The rule's minimum effect or margin; for a guardrail with its sign, where harm begins to be too much."""
    value: float
    """Measured change of the challenger."""
    low: float | None
    """Bounds that hold at any look; None where there is none yet."""
    high: float | None
    p_value: float | None
    """Always-valid, of no change; None for metrics that are bounded otherwise."""
    state: State
    traffic: float | None
    """Projection of the traffic that settles it, as a multiple of what there was: 1 where it is settled, None where
    the value is too near the threshold to tell."""


class LiveVerdict(BaseModel):
    """The decision, as it is stored beside the comparison it is about."""

    model_config = ConfigDict(frozen=True)

    decision: Decision
    reason: Reason
    sentence: str
    """For people."""
    requests: int
    """Of the arm that has fewer."""
    more_requests: int | None
    """Projection of the requests that each arm still needs for a decision; 0 for a decision, None where it cannot be
    told."""
    findings: tuple[MetricFinding, ...]
    split_p: float | None
    """Always-valid p-value of the sample ratio; None where nothing was split."""
    rule: Rule

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; ``LiveVerdict.model_validate`` reads it."""
        return self.model_dump(mode="json")
