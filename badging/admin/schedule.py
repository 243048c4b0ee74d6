"""The schedule in the admin: how often each task runs, and whether it does.

Site admins may change how often, within bounds, and put right what was changed in another way. Nobody can switch a task
off, add or delete one here. This page replaces those of django-celery-beat, with which one typo stops all sending.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_celery_beat import admin as _registers_its_pages  # noqa: F401
from django_celery_beat import models as beat_models

from .. import schedule
from ..models import Heartbeat, ScheduledTask
from ..moments import in_words
from .base import PortalAdmin
from .display import moment

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[ScheduledTask]
else:
    _ModelForm = forms.ModelForm

for raw in ("PeriodicTask", "IntervalSchedule", "CrontabSchedule", "SolarSchedule", "ClockedSchedule"):
    admin.site.unregister(getattr(beat_models, raw))


class ScheduleForm(_ModelForm):
    """How often a task runs."""

    every_seconds = forms.IntegerField(label=gettext_lazy("Interval in seconds"))

    class Meta:
        model = ScheduledTask
        fields = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Rows that are not ours, and people who may only look, get a form without it.
        if "every_seconds" in self.fields:
            entry = schedule.BY_TASK[self.row.task]
            self.initial["every_seconds"] = _whole(schedule.seconds_of(self.row))
            bounds = {"least": entry.least, "most": entry.most, "every": entry.every}
            text = _("%(least)d to %(most)d; usually %(every)d. Takes effect within seconds.") % bounds
            self.fields["every_seconds"].help_text = text
            self.fields["every_seconds"].widget.attrs |= {"min": entry.least, "max": entry.most}

    @property
    def row(self) -> Any:
        """The row; django-celery-beat has no types."""
        return self.instance

    def clean_every_seconds(self) -> int:
        """Within the task's bounds."""
        every: int = self.cleaned_data["every_seconds"]
        try:
            schedule.see_that_it_is_within(self.row, every)
        except schedule.OutOfBounds as error:
            raise forms.ValidationError(str(error)) from error
        return every


class _ScheduleList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        """Let each row know what is wrong with it."""
        super().get_results(request)
        troubles, found = _troubles(), list(self.result_list)
        for row in found:
            row.troubles = troubles
        self.result_list = found


@admin.register(ScheduledTask)
class ScheduleAdmin(PortalAdmin):
    """The tasks of the schedule, and what others have added."""

    form = ScheduleForm
    list_display = ("label", "in_order", "every", "on", "last_run")
    list_display_links = ("label",)
    sortable_by = ()
    actions = ("put_right",)
    button_actions = ("put_right",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScheduledTask]:
        """All but Celery's own."""
        rows: QuerySet[ScheduledTask] = super().get_queryset(request).exclude(task=schedule.CELERYS_OWN)
        ran_at = Heartbeat.objects.filter(name=OuterRef("task")).values("at")
        related = ("interval", "crontab", "solar", "clocked")
        return rows.select_related(*related).annotate(ran_at=Subquery(ran_at)).order_by("pk")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """What may be changed, then what may not."""
        editable = ("every_seconds",) if self._may_be_changed(request, obj) else ("every",)
        shown = ("label", "what", *editable)
        return [
            (None, {"fields": shown}),
            (gettext_lazy("Status"), {"fields": ("problem", "on", "last_run")}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """All but how often."""
        shown = ["label", "what", "every", "problem", "on", "last_run"]
        # A field that the form declares is left out by being read-only.
        return shown if self._may_be_changed(request, obj) else [*shown, "every_seconds"]

    def buttons_for(self, obj: Any) -> tuple[str, ...]:
        """Only where something can be put right."""
        return self.button_actions if any(_is_about(trouble, obj) for trouble in _troubles()) else ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """A list that looks for problems once for all rows."""
        return _ScheduleList

    def _may_be_changed(self, request: HttpRequest, obj: Any) -> bool:
        return obj is not None and obj.task in schedule.BY_TASK and self.has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Change how often the task runs, if that was changed."""
        every = form.cleaned_data.get("every_seconds")
        if every is not None and every != schedule.seconds_of(obj):
            schedule.change_interval(obj, every, actor=request.user)

    # Columns and fields

    @admin.display(description=gettext_lazy("task"))
    def label(self, obj: Any) -> str:
        """Its name."""
        return str(obj.name)

    @admin.display(description=gettext_lazy("what it does"))
    def what(self, obj: Any) -> str:
        """What it does."""
        entry = schedule.BY_TASK.get(obj.task)
        return str(entry.what) if entry else _("Unknown: the portal has no such task.")

    @admin.display(description=gettext_lazy("runs every"))
    def every(self, obj: Any) -> str:
        """How often it runs."""
        every = schedule.seconds_of(obj)
        return _("by another kind of schedule") if every is None else in_words(timedelta(seconds=every))

    @admin.display(description=gettext_lazy("on"), boolean=True)
    def on(self, obj: Any) -> bool:
        """Whether it is switched on."""
        return bool(obj.enabled)

    @admin.display(description=gettext_lazy("last run"))
    def last_run(self, obj: Any) -> str:
        """When a worker last ran it; it is noted every 15 seconds at most."""
        return moment(obj.ran_at)

    @admin.display(description=gettext_lazy("in order"))
    def in_order(self, obj: Any) -> str:
        """What is wrong, shortly."""
        return next((trouble.what for trouble in obj.troubles if _is_about(trouble, obj)), "") or _("Yes")

    @admin.display(description=gettext_lazy("what to do"))
    def problem(self, obj: Any) -> str:
        """What is wrong with it, with beat or the workers, and what to do."""
        concerns = (trouble for trouble in _troubles() if _is_about(trouble, obj) or trouble.row is None)
        return " ".join(map(str, concerns)) or _("Nothing to do.")

    # Actions

    @admin.action(description=gettext_lazy("Put right"), permissions=["change"])
    def put_right(self, request: HttpRequest, queryset: QuerySet[ScheduledTask]) -> None:
        """Let tasks of the portal run as they should, and switch off what is not the portal's."""
        for row in self.chosen(request, queryset) or []:
            schedule.put_right(row, actor=request.user, now=timezone.now())
            self.message_user(request, _("%(task)s was put right.") % {"task": self.label(row)}, messages.SUCCESS)


def _troubles() -> list[schedule.Trouble]:
    return schedule.problems(timezone.now())


def _is_about(trouble: schedule.Trouble, obj: Any) -> bool:
    return trouble.row is not None and trouble.row.pk == obj.pk


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)
