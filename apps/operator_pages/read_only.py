"""Pages that show and change nothing. Whatever a request carries, no field is saved: there is no form behind them.

What an operator may do about a row is a decision (decisions.py).
"""

from typing import Any

from django.contrib.admin import helpers
from django.core.exceptions import SuspiciousOperation
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin, TabularInline


class ReadOnlyAdmin(ModelAdmin):
    """A list and a page for each row. Adding, changing and deleting are refused to everybody."""

    # how rows of this kind come to be, for a list that is empty
    nothing_yet = ""
    list_fullwidth = True
    list_per_page = 50
    # a button that takes every row of a table is for nobody
    list_disable_select_all = True

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list. Rows that are chosen by a key that no text in Postgres can hold were not chosen on it."""
        if any("\0" in key for key in request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)):
            raise SuspiciousOperation("a null character in a key")
        return super().changelist_view(request, extra_context)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody, so that every field is shown as text."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False


class ReadOnlyInline(TabularInline):
    """The rows that belong to another one, a page of them at a time."""

    extra = 0
    can_delete = False
    show_change_link = False
    hide_title = True
    per_page = 25
    template_after = "operator_pages/no_rows.html"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All of them."""
        return self.fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False
