"""What belongs to no single app: operators' accounts, the beat's schedule, the starter models in the form for a model.

The pages of Django and django-celery-beat are kept as they are; they only look like the rest.
"""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django_celery_beat import admin as beat_admin
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from apps.operator_pages import display
from apps.rounds.admin import FederatedModelAdmin
from apps.rounds.models import FederatedModel
from boltz_federated import starter_models

for _model in (User, Group, PeriodicTask, IntervalSchedule, CrontabSchedule, SolarSchedule, ClockedSchedule):
    admin.site.unregister(_model)


@admin.register(FederatedModel)
class ModelWithStartersAdmin(FederatedModelAdmin):
    """Models; a new one may start from those that come with the mesh."""

    starters = {name: starter_models.read(name) for name in starter_models.names()} | dict(FederatedModelAdmin.starters)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    """Operators' accounts."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_fullwidth = True
    fieldsets = (*DjangoUserAdmin.fieldsets, ("In the log", {"fields": ("pseudonym",)}))
    readonly_fields = ("pseudonym",)
    list_select_related = ("operator",)
    list_display = ("username", "email", "is_staff", "is_superuser", "is_active", "last_login", "pseudonym")

    @admin.display(description="pseudonym in the log")
    def pseudonym(self, user: User) -> Any:
        """What the log calls this operator, with a link to what it says."""
        operator = getattr(user, "operator", None)
        return display.list_link("audit_logentry", operator.pseudonym, q=operator.pseudonym) if operator else "none yet"


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    """Sets of permissions."""

    list_fullwidth = True


class TaskSelect(UnfoldAdminSelectWidget, beat_admin.TaskSelectWidget):
    """django-celery-beat's list of tasks, in unfold's looks."""


class PeriodicTaskForm(beat_admin.PeriodicTaskForm):
    """django-celery-beat's form, in unfold's looks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Two fields that the form declares itself."""
        super().__init__(*args, **kwargs)
        self.fields["task"].widget = UnfoldAdminTextInputWidget()
        self.fields["regtask"].widget = TaskSelect()


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(beat_admin.PeriodicTaskAdmin, ModelAdmin):
    """What beat rings."""

    form = PeriodicTaskForm
    list_fullwidth = True


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(beat_admin.IntervalScheduleAdmin, ModelAdmin):
    """Every so often."""


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(beat_admin.CrontabScheduleAdmin, ModelAdmin):
    """At times of the day, week, month or year."""


@admin.register(SolarSchedule)
class SolarScheduleAdmin(ModelAdmin):
    """By the sun."""


@admin.register(ClockedSchedule)
class ClockedScheduleAdmin(beat_admin.ClockedScheduleAdmin, ModelAdmin):
    """Once."""
