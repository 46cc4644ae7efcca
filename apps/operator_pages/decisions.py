"""What an operator may decide about a row: a button, a page that says what will happen, a reason, a call of a service.

A decision is carried out by POST alone, by whoever may change rows of that table, under the operator's pseudonym.
Whether the row's state allows it, the service says; its answer is shown on the page.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin import helpers
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from unfold.widgets import UnfoldAdminTextareaWidget

from apps.operator_pages import display, form_pages
from apps.operator_pages.form_pages import MAX_REASON, OperatorForm
from apps.operator_pages.read_only import ReadOnlyAdmin
from boltz_protocol.errors import BoltzError

CONFIRMED = "confirmed"
SHOWN_REFUSALS = 5


class ReasonForm(OperatorForm):
    """Why. It goes into the log."""

    reason = forms.CharField(
        max_length=MAX_REASON,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept in the log for good, so name no person.",
    )


class OptionalReasonForm(ReasonForm):
    """Why, when there is something to say."""

    reason = forms.CharField(
        max_length=MAX_REASON,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Optional. Kept in the log for good, so name no person.",
    )


class ConfirmationForm(OperatorForm):
    """Nothing to fill in."""


@dataclass(frozen=True)
class Decision:
    """One thing that can be decided.

    `carry_out(row, actor=..., **fields of the form)` calls the service. `applies(row)` says whether a button is shown;
    it is a courtesy, not a check. `many`: also for several rows at once, from the list.
    """

    name: str
    label: str
    consequence: str
    done: str
    carry_out: Callable[..., object]
    applies: Callable[[Any], bool]
    form: type[OperatorForm] = ConfirmationForm
    danger: bool = False
    many: bool = False


class DecidingAdmin(ReadOnlyAdmin):
    """Read-only pages with decisions on them. `actor_of(user)` gives the pseudonym that acts."""

    decisions: Sequence[Decision] = ()
    actor_of: ClassVar[Callable[[Any], str]]
    change_form_outer_before_template = "operator_pages/decisions.html"

    def may_decide(self, request: HttpRequest) -> bool:
        """Whoever may change rows of this table."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))

    def get_urls(self) -> list[URLPattern]:
        """An address for each decision about a row, `<id>/decide/<name>/`."""
        view = self.admin_site.admin_view(self.decision_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_decide"
        return [path("<path:object_id>/decide/<slug:name>/", view, name=name), *super().get_urls()]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The row's page, with a button for each decision that its state allows."""
        row = self.get_object(request, unquote(object_id)) if object_id else None
        buttons = [decision for decision in self.decisions if row is not None and decision.applies(row)]
        context = {"decisions": buttons if self.may_decide(request) else []}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **context})

    def decision_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """The page of one decision about one row; POST carries it out."""
        if not self.may_decide(request):
            raise PermissionDenied
        decision = next((decision for decision in self.decisions if decision.name == name), None)
        row = self.get_object(request, unquote(object_id))
        if decision is None or row is None:
            raise Http404
        form = decision.form(request.POST if request.method == "POST" else None, row=row)
        if request.method == "POST" and form.is_valid():
            try:
                decision.carry_out(row, actor=self.actor_of(request.user), **form.cleaned_data)
            except BoltzError as error:
                form.add_refusal(error)
            else:
                messages.success(request, f"{row}: {decision.done}")
                return HttpResponseRedirect(display.address_of(row))
        page = page_of(decision, title=f"{decision.label}: {row}", back=display.address_of(row))
        return form_pages.render(self, request, form, page, row=row)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """The decisions that can be taken for several rows at once."""
        actions = super().get_actions(request)
        if self.may_decide(request):
            for decision in self.decisions:
                if decision.many:
                    actions[decision.name] = (decide_many(decision), decision.name, f"{decision.label}: selected rows")
        return actions


def page_of(decision: Decision, **around: Any) -> form_pages.Page:
    """What the page of a decision says."""
    return form_pages.Page(submit=decision.label, consequence=decision.consequence, danger=decision.danger, **around)


def decide_many(decision: Decision) -> Callable[..., HttpResponse | None]:
    """The decision as an action of the list: first a page that names the rows, then each row on its own."""

    def act(model_admin: DecidingAdmin, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
        # only what comes from the page that names the rows
        form = decision.form(request.POST if CONFIRMED in request.POST else None)
        if form.is_valid():
            carry_out_each(model_admin, request, decision, list(rows), form.cleaned_data)
            return None
        chosen = tuple(rows)
        hidden = [(helpers.ACTION_CHECKBOX_NAME, str(row.pk)) for row in chosen]
        hidden += [("action", decision.name), (CONFIRMED, "yes")]
        page = page_of(
            decision,
            title=f"{decision.label}: {len(chosen)} selected",
            rows=chosen,
            hidden=tuple(hidden),
            back=request.path,
        )
        return form_pages.render(model_admin, request, form, page)

    return act


def carry_out_each(
    model_admin: DecidingAdmin, request: HttpRequest, decision: Decision, rows: list[Any], fields: dict[str, Any]
) -> None:
    """Decide row by row; one that is refused does not keep the others."""
    actor, refusals = model_admin.actor_of(request.user), []
    for row in rows:
        try:
            decision.carry_out(row, actor=actor, **fields)
        except BoltzError as error:
            refusals.append(f"{row}: {error.message}")
    if len(rows) > len(refusals):
        messages.success(request, f"{len(rows) - len(refusals)} of {len(rows)}: {decision.done}")
    for refusal in refusals[:SHOWN_REFUSALS]:
        messages.error(request, refusal)
    if len(refusals) > SHOWN_REFUSALS:
        messages.error(request, f"and {len(refusals) - SHOWN_REFUSALS} more were refused")
