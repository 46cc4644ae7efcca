"""What the templates need to link to rows."""

from typing import Any

from django import template
from django.db.models import Model

from apps.operator_pages import display

register = template.Library()


@register.simple_tag
def row_address(part: dict[str, Any]) -> str:
    """Where a part of the breadcrumbs leads: unfold does not quote the key of a row, and ours hold underscores."""
    title = part["title"]
    return display.address_of(title) if isinstance(title, Model) else str(part.get("link", ""))


@register.filter
def row_name(part: dict[str, Any]) -> str:
    """A row by its name as it is (lakeside-edge, not Lakeside-edge), a list in a capital."""
    title = part["title"]
    return str(title) if isinstance(title, Model) else str(title)[:1].upper() + str(title)[1:]
