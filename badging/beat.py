"""Celery beat's scheduler: django-celery-beat's, which also notes that it lives and whether the broker answers."""

from typing import TYPE_CHECKING, Any

from celery.beat import SchedulingError
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from . import schedule

# django-celery-beat has no types.
if TYPE_CHECKING:
    from celery.beat import ScheduleEntry as _ModelEntry
    from celery.beat import Scheduler as _DatabaseScheduler
else:
    _DatabaseScheduler, _ModelEntry = DatabaseScheduler, ModelEntry


class PortalEntry(_ModelEntry):
    """A row of the schedule in beat's memory."""

    model: Any

    def save(self) -> None:
        """Write what beat counts, and nothing else: its row may have been changed meanwhile by a person."""
        values = {name: getattr(self.model, name) for name in ("last_run_at", "total_run_count")}
        PeriodicTask.objects.filter(pk=self.model.pk, enabled=True).update(**values)


class PortalScheduler(_DatabaseScheduler):
    """Named in CELERY_BEAT_SCHEDULER."""

    Entry = PortalEntry

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Note that beat lives, then do one step of the schedule."""
        schedule.note(schedule.BEAT, timezone.now())
        return super().tick(*args, **kwargs)

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        """Send one task; note whether the broker took it. Raises SchedulingError when it did not."""
        try:
            result = super().apply_async(*args, **kwargs)
        except SchedulingError:
            schedule.note_broker(away=True, now=timezone.now())
            raise
        schedule.note_broker(away=False, now=timezone.now())
        return result
