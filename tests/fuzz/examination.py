"""Run a property on examples drawn from a seed, and put into words what broke it."""

import hypothesis
from hypothesis import HealthCheck, Phase

EVERY_CHECK = list(HealthCheck)


class FoundError(Exception):
    """Something does not hold; says what, for which example, and how to see it again."""


def examine(check, *, seed, examples, shrink=True):
    """Run `check(data)` on so many examples.

    Raises:
        FoundError: one of them broke it, the smallest that was found.
    """
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples, database=None, deadline=None, phases=phases, suppress_health_check=EVERY_CHECK
    )
    @hypothesis.given(hypothesis.strategies.data())
    def examined(data):
        check(data)

    try:
        examined()
    except Exception as error:
        raise FoundError(in_words(error)) from error


def in_words(error):
    """An error with what hypothesis says about its example; all of them, when there are several."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join([str(error), *map(in_words, error.exceptions)])
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
