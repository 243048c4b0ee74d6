"""Checking a site and keeping what was found, and the courses that can be chosen from."""

import struct
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.utils import translation
from pytest_django.fixtures import Settings

from moodle_sync.client import records
from moodle_sync.client.errors import ERRORCODES
from moodle_sync.client.inspection import Inspection, inspect
from moodle_sync.client.report_cells import AGREED_HEADERS
from moodle_sync.models import Course, MoodleSite, MoodleSiteState
from moodle_sync.site_check import (
    check_is_due,
    feed_reason,
    finding_text,
    keep_inspection,
    moodle_client_for,
    store_courses,
    sync_courses,
)
from sandbox import MOODLE
from tests.builders import NOW, make_course, make_site
from vault.keys import WrongKey

from .polled import COURSES, REPORT, SET_FILTERS, Polled

DAY = timedelta(days=1)


def check(polled: Polled) -> Inspection:
    """Check the site and keep what was found."""
    with moodle_client_for(polled.site) as client:
        inspection = inspect(client, now=polled.now)
    keep_inspection(polled.site.state, inspection, polled.now)
    polled.site = MoodleSite.objects.get(pk=polled.site.pk)
    return inspection


def kept(polled: Polled, slug: str) -> list[str]:
    """What the site's stored findings of this name say."""
    return [finding_text(finding) for finding in polled.site.state.findings if finding["check"] == slug]


def course(number: int, fullname: str = "Course", **more: object) -> records.Course:
    told = {"visible": True, "completion_enabled": True, "shortname": f"C{number}"} | more
    return records.Course(
        id=number,
        shortname=str(told["shortname"]),
        fullname=fullname,
        category_id=2,
        category_name="Health",
        visible=bool(told["visible"]),
        completion_enabled=None if told["completion_enabled"] is None else bool(told["completion_enabled"]),
        separate_groups=False,
        contact_ids=frozenset(),
        is_front_page=False,
    )


def test_check_is_kept_with_the_feed_that_it_chose(polled: Polled) -> None:
    assert check(polled).failure is None
    site = polled.site
    assert (site.state.feed, site.state.report_id, site.state.wwwroot) == ("A", REPORT, polled.sandbox.moodle_url)
    assert (site.state.checked_at, site.state.clock_skew) == (polled.now, timedelta(0))
    assert (site.state.zone, feed_reason(site.state)) == ("UTC", "")
    assert SET_FILTERS in site.state.functions
    assert {"check", "ok", "message", "values"} == set(site.state.findings[0])


def test_stored_findings_read_as_they_were_found(polled: Polled) -> None:
    polled.sandbox.faults.on("missing_function", side=MOODLE, call=COURSES)
    inspection = check(polled)
    stored = MoodleSiteState.objects.get().findings
    assert [finding_text(finding) for finding in stored] == [finding.message for finding in inspection.findings]
    assert "The report has the agreed columns. It holds 0 completions." in map(finding_text, stored)


def write_catalogue(folder: Path, texts: dict[str, str]) -> None:
    """A compiled gettext catalogue (.mo): a header, two tables of lengths and places, then the texts."""
    pairs = {"": "Content-Type: text/plain; charset=UTF-8\n", **texts}
    columns = [[text.encode() for text in column] for column in (sorted(pairs), [pairs[key] for key in sorted(pairs)])]
    place = 28 + 16 * len(pairs)
    tables, data = b"", b""
    for text in columns[0] + columns[1]:
        tables += struct.pack("<2I", len(text), place + len(data))
        data += text + b"\0"
    header = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    folder.mkdir(parents=True)
    (folder / "django.mo").write_bytes(header + tables + data)


def test_findings_are_shown_in_the_readers_language(polled: Polled, settings: Settings, tmp_path: Path) -> None:
    texts = {
        "The report has the agreed columns. It holds {count} completions.": "{count} achèvements, colonnes convenues.",
        "The service lacks {function}: {lost}. Add it (Server, Web services, External services).": "{function}: {lost}",
        "courses cannot be listed to choose from": "les cours cachés",
        "{advice} ({error})": "{error} : {advice}",
        ERRORCODES["invalidtoken"][1]: "Créez un nouveau jeton.",
    }
    write_catalogue(tmp_path / "fr" / "LC_MESSAGES", texts)
    settings.LOCALE_PATHS = [tmp_path]
    polled.sandbox.faults.on("missing_function", side=MOODLE, call=COURSES)
    check(polled)
    with translation.override("fr"):
        shown = {finding["check"]: finding_text(finding) for finding in polled.site.state.findings}
    assert shown["report-readable"] == "0 achèvements, colonnes convenues."
    assert shown[f"function-{COURSES}"] == f"{COURSES}: les cours cachés"
    polled.moodle.token = "renewed"
    check(polled)
    with translation.override("fr"):
        assert finding_text(polled.site.state.findings[-1]).endswith(": invalidtoken : Créez un nouveau jeton.")


def test_site_that_cannot_be_reached_keeps_what_was_known(polled: Polled) -> None:
    check(polled)
    polled.sandbox.faults.on("down", side=MOODLE)
    polled.now += DAY
    assert check(polled).failure is not None
    assert (polled.site.state.feed, polled.site.state.report_id) == ("A", REPORT)
    assert not any(finding["ok"] for finding in polled.site.state.findings)


def test_what_a_check_found_wrong_is_gone_soon_after_it_was_mended(polled: Polled) -> None:
    polled.course(learners=1)
    polled.sandbox.faults.on("down", side=MOODLE)
    polled.poll()
    assert wrong(polled)
    polled.sandbox.faults.clear()
    polled.poll()
    assert wrong(polled) == []
    polled.sandbox.faults.on("missing_function", side=MOODLE, call=COURSES)
    check(polled)
    polled.sandbox.faults.clear()
    polled.poll()
    assert wrong(polled) == [f"function-{COURSES}"]
    polled.now += timedelta(hours=1)
    polled.poll()
    assert wrong(polled) == []


def wrong(polled: Polled) -> list[str]:
    """What the last check of the site found wrong."""
    findings = MoodleSiteState.objects.get(site=polled.site).findings
    return [finding["check"] for finding in findings if not finding["ok"]]


def test_change_of_feed_asks_for_a_full_reading_and_no_change_does_not(polled: Polled) -> None:
    check(polled)
    MoodleSiteState.objects.update(read_whole_at=NOW)
    polled.site = MoodleSite.objects.get()
    check(polled)
    assert polled.site.state.read_whole_at == NOW
    polled.without_report()
    check(polled)
    assert polled.site.state.feed == "B"
    assert MoodleSiteState.objects.get().read_whole_at is None


def test_the_slower_feed_is_told_with_its_reason(polled: Polled) -> None:
    polled.without_report()
    check(polled)
    assert 'sees no report "Navigatr badge feed"' in feed_reason(polled.site.state)


def test_keeping_a_check_leaves_what_was_changed_meanwhile(polled: Polled) -> None:
    with moodle_client_for(polled.site) as client:
        inspection = inspect(client, now=polled.now)
    MoodleSite.objects.update(name="Renamed", enabled=False)
    MoodleSiteState.objects.update(read_up_to=NOW)
    keep_inspection(polled.site.state, inspection, polled.now)
    site = MoodleSite.objects.get()
    assert (site.name, site.enabled, site.state.read_up_to, site.state.feed) == ("Renamed", False, NOW, "A")


def test_a_changed_time_zone_is_told_once(polled: Polled) -> None:
    check(polled)
    assert kept(polled, "zone-changed") == []
    polled.moodle.set_site(force_timezone="Australia/Sydney")
    check(polled)
    assert polled.site.state.zone == "Australia/Sydney"
    [told] = kept(polled, "zone-changed")
    assert "was UTC and is now Australia/Sydney" in told
    check(polled)
    assert kept(polled, "zone-changed") == []


def test_a_time_zone_that_cannot_be_asked_for_is_no_change_but_unknown(polled: Polled) -> None:
    check(polled)
    polled.sandbox.faults.on("missing_function", side=MOODLE, call="tool_mobile_get_config")
    check(polled)
    assert (polled.site.state.zone, kept(polled, "zone-changed")) == ("", [])
    [told] = kept(polled, "zone")
    assert "Add tool_mobile_get_config" in told


@pytest.mark.parametrize(
    ("feed", "checked_at", "due"),
    [
        ("A", NOW, False),
        ("A", NOW - DAY + timedelta(seconds=1), False),
        ("A", NOW - DAY, True),
        ("A", None, True),
        ("B", NOW - timedelta(hours=1) + timedelta(seconds=1), False),
        ("B", NOW - timedelta(hours=1), True),
        ("", NOW, True),
    ],
)
def test_check_is_due_daily_hourly_on_the_slower_feed_and_while_none_is_usable(
    db: None, feed: str, checked_at: datetime | None, due: bool
) -> None:
    site = make_site(feed=feed, checked_at=checked_at)
    with moodle_client_for(site) as client:
        assert check_is_due(site.state, client, NOW) is due
        assert client.calls == 0


def test_check_is_due_at_once_when_the_report_was_changed(polled: Polled) -> None:
    polled.moodle.set_report(REPORT, columns=("Username",))
    check(polled)
    assert polled.site.state.feed == "B"
    with moodle_client_for(polled.site) as client:
        assert not check_is_due(polled.site.state, client, polled.now)
        polled.now += timedelta(minutes=1)
        polled.moodle.set_report(REPORT, columns=AGREED_HEADERS)
        assert check_is_due(polled.site.state, client, polled.now)


def test_client_has_the_sites_address_and_time_out(db: None, settings: Settings) -> None:
    settings.MOODLE_TIMEOUT = 7
    with moodle_client_for(make_site(url="https://moodle.example/my/")) as client:
        assert client.base_url == "https://moodle.example"


def test_client_of_a_site_with_a_wrong_key_is_refused(db: None, settings: Settings) -> None:
    make_site()
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(WrongKey):
        moodle_client_for(MoodleSite.objects.get())


def test_names_are_updated_and_kept_as_text_and_no_course_disappears(polled: Polled) -> None:
    gone = make_course(polled.site, moodle_id=999, fullname="Gone from Moodle")
    number = polled.moodle.add_course("ÉTH-1 & <2>", "Café & “Éthique” <b>niveau 1</b> — 日本語")
    check(polled)
    with moodle_client_for(polled.site) as client:
        assert sync_courses(polled.site, client) == 1
        row = Course.objects.get(moodle_id=number)
        # The name as people see it in Moodle; the short name as stored, for it is a key.
        assert (row.shortname, row.fullname) == ("ÉTH-1 & <2>", "Café & “Éthique” niveau 1 — 日本語")
        polled.moodle.set_course(number, fullname="<script>alert(1)</script>", visible=0, enablecompletion=0)
        assert sync_courses(polled.site, client) == 1
    row.refresh_from_db()
    assert (row.fullname, row.visible, row.completion_enabled) == ("alert(1)", False, False)
    gone.refresh_from_db()
    assert gone.fullname == "Gone from Moodle"
    # Moodle's front page counts as a course in Moodle, and in nothing else.
    assert Course.objects.count() == 2


def test_service_that_may_not_list_courses_keeps_those_there_are(polled: Polled) -> None:
    polled.sandbox.faults.on("missing_function", side=MOODLE, call=COURSES)
    make_course(polled.site)
    check(polled)
    with moodle_client_for(polled.site) as client:
        assert sync_courses(polled.site, client) == 0
    assert Course.objects.count() == 1


def test_course_rows_are_made_and_updated_and_come_back_saved(db: None) -> None:
    site = make_site()
    known = make_course(site, moodle_id=2, fullname="Old", error="kept", next_offset=100)
    rows = store_courses(site, [course(2, "New", completion_enabled=None), course(3, "x" * 2000, shortname="y" * 300)])
    assert [row.moodle_id for row in rows] == [2, 3]
    assert rows[0].pk == known.pk
    assert Course.objects.get(pk=rows[1].pk).moodle_id == 3
    known.refresh_from_db()
    assert (known.fullname, known.completion_enabled, known.error, known.next_offset) == ("New", None, "kept", 100)
    long = Course.objects.get(moodle_id=3)
    assert (len(long.fullname), len(long.shortname)) == (1333, 255)


def test_course_told_twice_is_stored_once(db: None) -> None:
    site = make_site()
    store_courses(site, [course(2, "First"), course(2, "Second")])
    assert Course.objects.get().fullname == "Second"


def test_name_that_no_database_takes_is_stored_without_it(db: None) -> None:
    store_courses(make_site(), [course(2, "N\0ul \ud83d")])
    assert Course.objects.get().fullname == "Nul ?"


def test_courses_of_two_sites_with_the_same_number_are_two(db: None) -> None:
    store_courses(make_site(), [course(2)])
    store_courses(make_site(), [course(2)])
    assert Course.objects.count() == 2
