"""Values as an operator reads them: states in colour, times with their distance, JSON in lines, digests cut short."""

import json
from datetime import datetime
from typing import Any

from django.contrib.admin.utils import quote
from django.db.models import Model
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timesince, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

NOTHING = "-"
SHORT_DIGEST = 8
SMALLEST_PLAIN, LARGEST_PLAIN = 1e-3, 1e6
COLOURS = {
    # in order, or good
    "open": "success",
    "active": "success",
    "current": "success",
    "aggregated": "success",
    "published": "success",
    "trusted": "success",
    "alive": "success",
    "passed": "success",
    # under way
    "scheduled": "info",
    "sealed": "info",
    "frozen": "info",
    "aggregating": "info",
    "running": "info",
    "received": "info",
    "processing": "info",
    "staged": "info",
    "building": "info",
    "candidate": "info",
    "waiting": "info",
    # somebody has to look
    "pending": "warning",
    "suspended": "warning",
    "quarantined": "warning",
    "stalled": "warning",
    "low": "warning",
    "held_back": "warning",
    "rolled_back": "warning",
    "rejected": "danger",
    "failed": "danger",
    "revoked": "danger",
    "old": "danger",
    "never": "danger",
}


def badge(word: str, *, title: str = "") -> SafeString:
    """A state, or another word from a fixed set, in its colour; grey when the word says neither good nor bad."""
    colour = COLOURS.get(word, "plain")
    return format_html('<span class="op-badge op-{}" title="{}">{}</span>', colour, title, word.replace("_", " "))


def moment(at: datetime | None) -> SafeString | str:
    """A time in UTC; how long ago, or how far ahead, when pointed at."""
    if at is None:
        return NOTHING
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), distance(at), f"{at:%Y-%m-%d %H:%M}")


def second(at: datetime) -> SafeString:
    """A time to the second, short enough for a list."""
    spelled = f"{at:%Y-%m-%d %H:%M:%S}"
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), distance(at), spelled)


def day(at: datetime) -> SafeString:
    """A date; the time, when pointed at."""
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), f"{at:%H:%M} UTC", f"{at:%Y-%m-%d}")


def exact_moment(at: datetime | None) -> SafeString | str:
    """A time in UTC to the second, with its distance beside it."""
    if at is None:
        return NOTHING
    spelled = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return format_html(
        '<time datetime="{}">{}</time> <span class="op-quiet">{}</span>', at.isoformat(), spelled, distance(at)
    )


def distance(at: datetime) -> str:
    """`in 2 hours, 5 minutes` or `3 minutes ago`."""
    now = timezone.now()
    if abs((at - now).total_seconds()) < 60:  # noqa: PLR2004 - a minute
        return "in less than a minute" if at > now else f"{int((now - at).total_seconds())} s ago"
    words = f"in {timesince.timeuntil(at, now)}" if at > now else f"{timesince.timesince(at, now)} ago"
    # Django puts spaces into it that do not break
    return words.replace("\xa0", " ")


def seconds(value: float) -> str:
    """A length of time in its own unit: `6 h`, `90 s`, `30 min`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if value >= length and value % length == 0:
            return f"{value / length:g} {unit}"
    return f"{value:g} s"


def number(value: float | None) -> str:
    """A measured value to four digits that count."""
    if value is None:
        return NOTHING
    if value == 0 or SMALLEST_PLAIN <= abs(value) < LARGEST_PLAIN:
        return f"{value:.4g}"
    return f"{value:.3e}"


def share(value: float | None) -> str:
    """A share as a percentage."""
    return NOTHING if value is None else f"{100 * value:.1f} %"


def size(n_bytes: int) -> str:
    """Bytes in a unit that can be read, and exactly."""
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n_bytes >= length:
            return f"{n_bytes / length:.1f} {unit} ({n_bytes:,} bytes)"
    return f"{n_bytes} bytes"


def short(text: str | None) -> SafeString | str:
    """The beginning of a digest or id; all of it when pointed at."""
    if not text:
        return NOTHING
    if len(text) <= SHORT_DIGEST:
        return code(text)
    return format_html('<code class="op-code op-short" title="{}">{}…</code>', text, text[:SHORT_DIGEST])


def short_pseudonym(name: str | None) -> SafeString | str:
    """A name in the log: its kind, and enough of the random part to tell two apart; all of it when pointed at."""
    kind, _, rest = (name or "").partition("_")
    if not name or not rest:
        return name or NOTHING
    return format_html('<span class="op-short" title="{}">{} {}…</span>', name, kind, rest[:6])


def code(text: str | None) -> SafeString | str:
    """A digest, id or code in full."""
    return format_html('<code class="op-code">{}</code>', text) if text else NOTHING


def json_block(value: Any) -> SafeString | str:
    """JSON over several lines, in a box that scrolls."""
    if value is None:
        return NOTHING
    # can be focused, so that it scrolls by keyboard too
    return format_html('<pre class="op-json" tabindex="0">{}</pre>', indented(value))


def indented(value: Any, depth: int = 0) -> str:
    """JSON with a line for each field, and lists of plain values in one line."""
    if isinstance(value, dict) and value:
        lines = [f"{json.dumps(name)}: {indented(item, depth + 1)}" for name, item in value.items()]
        brackets = "{}"
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        lines = [indented(item, depth + 1) for item in value]
        brackets = "[]"
    else:
        return json.dumps(value, ensure_ascii=False, default=str)
    inner = ",\n".join("  " * (depth + 1) + line for line in lines)
    return f"{brackets[0]}\n{inner}\n{'  ' * depth}{brackets[1]}"


def address_of(row: Model) -> str:
    """A row's own page. Its key is quoted: the admin reads an underscore and two digits as one character."""
    kind = row._meta  # noqa: SLF001 - Django's public name for it
    return reverse(f"admin:{kind.app_label}_{kind.model_name}_change", args=[quote(row.pk)])


def link_to(row: Model | None, text: str | None = None) -> SafeString | str:
    """A link to a row's own page."""
    if row is None:
        return NOTHING
    return format_html('<a class="text-link" href="{}">{}</a>', address_of(row), text or str(row))


def link_with_badge(row: Model, text: str, state: str) -> SafeString:
    """A link with the row's state beside it."""
    return format_html("{} {}", link_to(row, text), badge(state))


def list_link(model: str, text: str, **query: Any) -> SafeString:
    """A link to the list of a kind of row (`rounds_update`), filtered."""
    address = reverse(f"admin:{model}_changelist", query=query or None)
    return format_html('<a class="text-link" href="{}">{}</a>', address, text)


def table(headers: tuple[str, ...], rows: list[tuple[Any, ...]], *, empty: str) -> SafeString:
    """A small table inside a page."""
    return render_to_string("operator_pages/table.html", {"headers": headers, "rows": rows, "empty": empty})


def followed_by(part: SafeString | str, remark: str) -> SafeString | str:
    """A part of a page with a quiet remark below it."""
    return format_html('{}<p class="op-quiet">{}</p>', part, remark) if remark else part
