"""A reputation as an operator reads it: a word, and a scale with a mark where everybody begins.

A newcomer's low score means that nothing is known yet. So at the prior the scale shows the mark alone and the word is
"new", in grey.
"""

from typing import Any

from django.utils.html import format_html

from apps.clients.models import Client
from apps.operator_pages import display
from boltz_core.trust import reputation
from boltz_core.trust.reputation import Reputation

WIDTH = 80
START = reputation.trust_score(Reputation())


def scale(client: Client) -> Any:
    """The score on a scale from 0 to 1, with its word."""
    earned = client.reputation()
    word, score = reputation.label(earned), reputation.trust_score(earned)
    length = 0 if word == "new" else score * WIDTH
    return format_html(
        '<span class="op-trust" title="{}"><svg class="op-scale" viewBox="0 0 {} 10" aria-hidden="true">'
        '<rect class="track" y="2" width="{}" height="6" rx="3"/>'
        '<rect class="earned {}" y="2" width="{}" height="6" rx="3"/>'
        '<rect class="start" x="{}" width="2" height="10"/></svg>{}</span>',
        explanation(word, score),
        WIDTH,
        WIDTH,
        word,
        round(length, 1),
        round(START * WIDTH - 1, 1),
        display.badge(word),
    )


def explanation(word: str, score: float) -> str:
    """The scale in words."""
    if word == "new":
        return f"No evidence yet. Everybody begins at {START:.2f}; the mark on the scale."
    return f"{score:.2f} of 1; everybody begins at {START:.2f}, the mark on the scale."


def in_words(client: Client) -> Any:
    """The scale, the score and what it comes from."""
    earned = client.reputation()
    word, score = reputation.label(earned), reputation.trust_score(earned)
    counts = (
        f"credit {display.number(earned.credit)}, debt {display.number(earned.debt)}, {earned.rounds} rounds judged"
    )
    return format_html(
        '{} <p class="op-quiet">{} {}.</p>', scale(client), explanation(word, score), counts.capitalize()
    )
