"""A page with one form on it: what will happen, the fields, a button. The only way in which the mesh's admin writes.

Forms are plain: they hold the fields that they declare and nothing of a table, so a forged field has nowhere to go.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest
from django.template.response import TemplateResponse

from boltz_protocol.errors import BoltzError

MAX_REASON = 200


class OperatorForm(forms.Form):
    """A form whose errors can come from a service: `fields_of_codes` says at which field a code is shown."""

    fields_of_codes: ClassVar[Mapping[str, str]] = {}
    # (title, explanation, names of fields); all in one when empty
    groups: ClassVar[tuple[tuple[str, str, tuple[str, ...]], ...]] = ()

    def __init__(self, data: Any = None, files: Any = None, *, row: Any = None, initial: Any = None) -> None:
        """`row`: what is decided about; a form that shows some of it reads it here."""
        super().__init__(data, files, initial=initial)
        self.row = row

    def add_refusal(self, error: BoltzError) -> None:
        """Show why a service refused, beside the field that it is about."""
        field = self.fields_of_codes.get(error.code)
        if field is None and error.message.split(" ", 1)[0] in self.fields:
            field = error.message.split(" ", 1)[0]
        self.add_error(field, forms.ValidationError(error.message, code=error.code))

    def fields_refused(self) -> list[forms.BoundField]:
        """The fields with errors, for a summary above a long form."""
        return [field for field in self.visible_fields() if field.errors]

    def grouped(self) -> list[tuple[str, str, list[forms.BoundField]]]:
        """The visible fields, in their groups."""
        if not self.groups:
            return [("", "", self.visible_fields())]
        return [(title, text, [self[name] for name in names]) for title, text, names in self.groups]


@dataclass(frozen=True)
class Page:
    """What stands around the form."""

    title: str
    submit: str
    consequence: str = ""
    danger: bool = False
    rows: tuple[Any, ...] = ()
    hidden: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    back: str = ""


def render(
    model_admin: Any, request: HttpRequest, form: OperatorForm, page: Page, *, row: Any = None
) -> TemplateResponse:
    """The page, inside the admin's frame; 422 when the form was sent and refused."""
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": page.title,
        "original": row,
        "form": form,
        "page": page,
    }
    status = 422 if form.is_bound and form.errors else 200
    return TemplateResponse(request, "operator_pages/form_page.html", context, status=status)
