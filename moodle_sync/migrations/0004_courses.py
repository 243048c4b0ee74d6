"""The plain letters of courses' names, which searches look in, also for the courses that are there already."""

from django.db import migrations

import moodle_sync.plain_letters

ROWS_AT_ONCE = 1000


def fill(apps, schema_editor):
    Course = apps.get_model("moodle_sync", "Course")
    rows = Course.objects.order_by("pk").only("fullname", "shortname", "search_text")
    last = 0
    while batch := list(rows.filter(pk__gt=last)[:ROWS_AT_ONCE]):
        for course in batch:
            course.search_text = moodle_sync.plain_letters.plain_letters(f"{course.fullname} {course.shortname}")
        Course.objects.bulk_update(batch, ["search_text"])
        last = batch[-1].pk


class Migration(migrations.Migration):
    dependencies = [
        ("moodle_sync", "0003_categories"),
    ]

    operations = [
        migrations.AddField(
            model_name="course",
            name="search_text",
            field=moodle_sync.plain_letters.PlainLettersField(of=("fullname", "shortname")),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
