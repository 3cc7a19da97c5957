"""The bad inputs of ``docs/errors.md`` that serving meets: its commands, its logs, its experiments."""

from docs.workshop import Case, typed

__all__ = ["SERVING_CASES"]

SERVING_CASES = (
    Case("A response that nobody recorded", typed("trace", "nosuchresponse")),
    Case("A shadow of a surface without a champion", typed("shadow", "report", "--surface", "music")),
    Case("A shadow of a surface that there is not", typed("shadow", "report", "--surface", "radio")),
    Case("A Bento without a champion", typed("package")),
    Case(
        "An experiment on a surface without a champion",
        typed("ab", "start", "spring", "--surface", "music", "--challenger", "1", "--reason", "a test"),
    ),
    Case(
        "An experiment in a mode that there is not", typed("ab", "start", "spring", "--mode", "half", "--reason", "a")
    ),
    Case(
        "An experiment's rule in a file that is not there",
        typed("ab", "start", "spring", "--rule", "rule.toml", "--reason", "a test"),
    ),
    Case("An experiment that nobody started, ended", typed("ab", "stop", "spring", "--reason", "a test")),
    Case("A report where no experiment was started", typed("ab", "report")),
    Case("Records of an age that is none", typed("logs", "prune", "--older-than", "soon")),
    Case("Records from an instant that is none", typed("logs", "export", "--since", "yesterday")),
    Case("A list to replay that nobody recorded", typed("replay", "nosuchresponse")),
    Case("Skew of requests whose features nobody kept", typed("logs", "skew", "--surface", "music")),
    Case("A video admitted that was not withdrawn", typed("videos", "admit", "v1", "--reason", "a mistake")),
    Case("Users to play whose tastes nobody knows", typed("simulate", "traffic")),
)
