"""Enrolment tokens: made by a form that shows the text once, and revoked. Only a digest is kept."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.validators import RegexValidator
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from apps.audit import services as audit
from apps.clients import services
from apps.clients.models import KINDS, EnrolmentToken
from apps.operator_pages import display, form_pages
from apps.operator_pages.columns import column
from apps.operator_pages.decisions import DecidingAdmin, Decision
from apps.operator_pages.form_pages import OperatorForm, Page

MAX_USES, MAX_DAYS = 10_000, 366
PRINTABLE = RegexValidator(r"\A[^\x00-\x1f\x7f]+\Z", "Printable characters only.")


class TokenForm(OperatorForm):
    """What a new token is for."""

    organisation = forms.CharField(
        max_length=128,
        validators=[PRINTABLE],
        widget=UnfoldAdminTextInputWidget,
        help_text="Whose clients it lets in. A name that is not known yet makes a new organisation.",
    )
    kind = forms.ChoiceField(
        choices=[("", "any kind"), *KINDS],
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="Only clients of this kind.",
    )
    max_uses = forms.IntegerField(
        label="Uses",
        min_value=1,
        max_value=MAX_USES,
        initial=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="How many clients it lets in. One for each is safest: a token that leaks is then worth one client.",
    )
    days = forms.FloatField(
        label="Valid for (days)",
        max_value=MAX_DAYS,
        initial=7,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        help_text="Afterwards it lets nobody in. Clients that are in stay in.",
    )
    note = forms.CharField(
        max_length=256,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="For the operators, such as whom it was given to.",
    )

    def clean_days(self) -> float:
        """More than none."""
        days: float = self.cleaned_data["days"]
        if days <= 0:
            raise forms.ValidationError("It must be more than 0 days.")
        return days


def revoke(token: EnrolmentToken, *, actor: str) -> None:
    """Let nobody in with it any more."""
    services.revoke_token(token, actor=actor)


REVOKE = Decision(
    name="revoke",
    label="Revoke",
    consequence="The token lets nobody in any more, at once and for good. Clients that are in stay in.",
    done="revoked",
    carry_out=revoke,
    applies=lambda token: not token.revoked,
    danger=True,
    many=True,
)


@admin.register(EnrolmentToken)
class EnrolmentTokenAdmin(DecidingAdmin):
    """Tokens, newest first."""

    actor_of = staticmethod(audit.actor_of)
    decisions = (REVOKE,)
    nothing_yet = "A token lets the clients of one organisation enrol."
    list_display = ("label", "organisation", "kind_word", "uses_of", "state_word", "expires", "note")
    list_filter = ("revoked", "kind", "organisation")
    list_select_related = ("organisation",)
    search_fields = ("organisation__name", "note")
    search_help_text = "Organisation or note"
    fields = (
        ("label", "state_word"),
        ("organisation", "kind_word"),
        ("uses_of", "note"),
        ("made", "expires_exactly"),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """By the form of this page alone, which calls the service."""
        return bool(request.user.has_perm("clients.add_enrolmenttoken"))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form, and then the token's text: once, in an answer that no cache keeps."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TokenForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            return self.show_once(request, form.cleaned_data)
        page = Page(
            title="Make an enrolment token",
            submit="Make the token",
            consequence=(
                "Whoever holds the text of the token may enrol as a client of the organisation. It is "
                "shown once, on the next page."
            ),
            back=reverse("admin:clients_enrolmenttoken_changelist"),
        )
        return form_pages.render(self, request, form, page)

    def show_once(self, request: HttpRequest, wanted: dict[str, Any]) -> HttpResponse:
        """Make the token and show its text."""
        text, token = services.make_token(
            organisation=wanted["organisation"],
            actor=audit.actor_of(request.user),
            kind=wanted["kind"] or None,
            max_uses=wanted["max_uses"],
            valid_for=timedelta(days=wanted["days"]),
            note=wanted["note"],
        )
        messages.success(request, f"{token} was made")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "The new token",
            "token": token,
            "text": text,
        }
        return never_cache(lambda _: TemplateResponse(request, "clients/token_made.html", context))(request)

    label = column("token", lambda token: f"token {token.digest[:8]}", ordering="pk")
    kind_word = column(
        "kind", lambda token: str(token.get_kind_display() if token.kind else "any kind"), ordering="kind"
    )
    uses_of = column("used", lambda token: f"{token.uses} of {token.max_uses}", ordering=F("max_uses") - F("uses"))
    state_word = column("state", lambda token: display.badge(state_of(token)))
    expires = column("expires", lambda token: display.moment(token.expires_at), ordering="expires_at")
    expires_exactly = column("expires", lambda token: display.exact_moment(token.expires_at))
    made = column("made", lambda token: display.exact_moment(token.created_at))


def state_of(token: EnrolmentToken) -> str:
    """In a word."""
    if token.revoked:
        return "revoked"
    if token.expires_at <= timezone.now():
        return "expired"
    return "used up" if token.uses >= token.max_uses else "active"
