"""Columns of lists and fields of pages, each in one line: what it is called, and what is shown of a row."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin


def column(title: str, value: Callable[[Any], Any], *, ordering: Any = None) -> Callable[[Any, Any], Any]:
    """A method for an admin or inline. `ordering`: the lookup or expression that its list is sorted by."""

    def shown(_admin: Any, row: Any) -> Any:
        return value(row)

    return admin.display(description=title, ordering=ordering)(shown)
