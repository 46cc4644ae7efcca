"""Beat's scheduler. Only beat loads this module, by its name in the configuration: it needs Django's app registry."""

from typing import Any

from celery import schedules
from django_celery_beat.models import IntervalSchedule
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from worker.heartbeats import write_heartbeats


class Entry(ModelEntry):
    """An entry whose interval may be a part of a second."""

    @classmethod
    def to_model_schedule(cls, schedule: Any) -> tuple[Any, str]:
        """The row of a schedule.

        The table has whole numbers only: half a second would be stored as none, and a beat that has read that rings
        without a pause.
        """
        interval = schedules.maybe_schedule(schedule)
        if not isinstance(interval, schedules.schedule) or interval.run_every.microseconds == 0:
            return super().to_model_schedule(schedule)
        every = round(interval.run_every.total_seconds() * 1_000_000)
        wanted = {"every": every, "period": IntervalSchedule.MICROSECONDS}
        # somebody may have made the same one in the admin, twice
        row = IntervalSchedule.objects.filter(**wanted).first() or IntervalSchedule.objects.create(**wanted)
        return row, "interval"


class Scheduler(DatabaseScheduler):
    """The schedule in the database, and a heartbeat at each turn of beat's loop.

    When a task last ran would not do: no task is due for as long as the longest pause in the schedule, and none ever
    while the tick is switched off in the admin.
    """

    Entry = Entry

    def tick(self, *arguments: Any, **options: Any) -> Any:
        """One turn of the loop; there is one every `beat_max_loop_interval` or sooner."""
        write_heartbeats("beat")
        return super().tick(*arguments, **options)
