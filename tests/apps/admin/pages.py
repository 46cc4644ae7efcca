"""Addresses in the admin, and what a page says to a person."""

import html
import re
from collections.abc import Iterator

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.db.models import Model
from django.http import HttpResponse
from django.urls import reverse


def list_page(kind: type[Model]) -> str:
    return reverse(f"admin:{kind._meta.app_label}_{kind._meta.model_name}_changelist")


def row_page(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[quote(row.pk)])


def add_page(kind: type[Model]) -> str:
    return reverse(f"admin:{kind._meta.app_label}_{kind._meta.model_name}_add")


def decision_page(row: Model, name: str) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_decide", args=[quote(row.pk), name])


def every_page(*, rows: int | None = None) -> Iterator[str]:
    """Dashboard, every list, every row (or some of each kind), every decision about it, every form that adds."""
    yield reverse("admin:index")
    for kind, pages in admin.site._registry.items():
        yield list_page(kind)
        for row in kind._default_manager.all()[:rows]:
            yield row_page(row)
            yield from (decision_page(row, decision.name) for decision in getattr(pages, "decisions", ()))
        if pages.__class__.__name__ in {"EnrolmentTokenAdmin", "ModelWithStartersAdmin", "UserAdmin", "GroupAdmin"}:
            yield add_page(kind)


def keep_connections_open() -> None:
    """Let the mesh's clients ask again after a browser has: Django's test browser makes the next request close the database."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)


def text_of(response: HttpResponse) -> str:
    """What stands on a page, without its tags, in one line."""
    body = re.sub(r"<(script|style).*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def errors_of(response: HttpResponse) -> dict[str, list[str]]:
    """The errors of a form that was refused, by field."""
    assert response.status_code == 422
    return {name: list(errors) for name, errors in response.context["form"].errors.items()}
