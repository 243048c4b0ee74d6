"""`map_course`: by id or short name, checked in Navigatr, and changed by mapping again."""

import pytest

from badging.management.commands.map_course import Command
from badging.models import CourseBadgeMapping, Issuance, NavigatrConnection
from moodle_sync.models import Course
from sandbox import MOODLE

from .calling import manage, succeed
from .conftest import MAP, Connected

UNISSUABLE = {"Draft": {"status": "Draft"}, "Credly": {"source": "Credly"}}


def test_json_names_the_mapping_and_what_is_queued(connected: Connected) -> None:
    answer = succeed("map_course", *MAP, "--course", connected.course)
    assert answer == {"mapping": CourseBadgeMapping.objects.get().pk, "queued": 0}


def test_text_names_course_and_badge(connected: Connected) -> None:
    done = manage("map_course", *MAP, "--course", connected.course)
    assert (done.code, done.err) == (0, "")
    assert done.out.strip() == "“Café & Éthique” awards “Safeguarding Essentials”."


@pytest.mark.parametrize("name", ["ÉTH-1", "Éth-1"])
def test_a_course_is_known_by_its_short_name_in_any_script(connected: Connected, name: str) -> None:
    succeed("map_course", *MAP, "--course", name)
    assert CourseBadgeMapping.objects.get().course.moodle_id == connected.course


def test_a_short_name_may_be_a_number(connected: Connected) -> None:
    connected.sandbox.moodle.add_course("2026", "The year's course")
    succeed("map_course", *MAP, "--course", "2026")
    assert CourseBadgeMapping.objects.get().course.fullname == "The year's course"


def test_a_number_that_is_one_courses_id_and_anothers_short_name_is_refused(connected: Connected) -> None:
    other = connected.sandbox.moodle.add_course(str(connected.course), "Named like another's id")
    done = manage("map_course", *MAP, "--course", connected.course)
    assert (done.code, done.out) == (1, "")
    assert f"“Café & Éthique” (id:{connected.course}, shortname:ÉTH-1)" in done.err
    assert f"“Named like another's id” (id:{other}, shortname:{connected.course})" in done.err
    assert f"--course id:{connected.course}" in done.err
    assert not CourseBadgeMapping.objects.exists()
    # Even while Moodle is down, as both are on file.
    with_moodle_down = connected.sandbox.faults.on("down", side=MOODLE)
    assert "fits more than one course" in manage("map_course", *MAP, "--course", connected.course).err
    connected.sandbox.faults.off(with_moodle_down.id)
    succeed("map_course", *MAP, "--course", f"shortname:{connected.course}")
    assert CourseBadgeMapping.objects.get().course.moodle_id == other
    succeed("map_course", *MAP, "--course", f"id:{connected.course}")
    assert CourseBadgeMapping.objects.latest("pk").course.moodle_id == connected.course


def test_short_names_that_differ_in_case_only_are_told_apart(connected: Connected) -> None:
    moodle = connected.sandbox.moodle
    lower, upper = moodle.add_course("abc", "Lower"), moodle.add_course("ABC", "Upper")
    for name in ("abc", "ABC"):
        succeed("map_course", *MAP, "--course", name)
    done = manage("map_course", *MAP, "--course", "Abc")
    assert f"“Lower” (id:{lower}, shortname:abc); “Upper” (id:{upper}, shortname:ABC)" in done.err


def test_a_short_name_is_asked_of_moodle_and_not_of_what_is_on_file(connected: Connected) -> None:
    moodle = connected.sandbox.moodle
    Course.objects.update(shortname="MOVED", fullname="As it was")
    current = moodle.add_course("MOVED", "Has the name now")
    succeed("map_course", *MAP, "--course", "MOVED")
    assert CourseBadgeMapping.objects.get().course.moodle_id == current
    # The other one has another name in Moodle since.
    Course.objects.filter(moodle_id=connected.course).update(shortname="OLD")
    assert "has no course “OLD”" in manage("map_course", *MAP, "--course", "OLD").err
    assert "has no course “Old”" in manage("map_course", *MAP, "--course", "Old").err


def test_a_course_that_is_on_file_is_known_by_its_id_while_moodle_is_down(connected: Connected) -> None:
    connected.sandbox.faults.on("maintenance_cli", side=MOODLE)
    for course in (connected.course, f"id:{connected.course}"):
        succeed("map_course", *MAP, "--course", course)
    assert CourseBadgeMapping.objects.get().course.moodle_id == connected.course
    for course in ("ÉTH-1", f"shortname:{connected.course}", "id:4711", "9" * 30):
        done = manage("map_course", *MAP, "--course", course)
        assert (done.code, "HTTP 503" in done.err) == (1, True)


@pytest.mark.parametrize("course", ["id:4711", "id:x", "shortname:4711", "shortname:", "id:", "9" * 30, "٣"])
def test_what_no_course_is_called_is_told(connected: Connected, course: str) -> None:
    done = manage("map_course", *MAP, "--course", course)
    assert (done.code, f"has no course “{course}”" in done.err) == (1, True)


@pytest.mark.parametrize("option", ["--course", "--site", "--connection"])
def test_a_very_long_value_is_not_repeated_whole(connected: Connected, option: str) -> None:
    done = manage("map_course", *MAP, "--course", connected.course, option, "shortname:" + "x" * 10_000)
    assert done.code == 1
    assert "xxx" in done.err
    assert len(done.err) < 500


def test_the_help_tells_how_to_say_which_course() -> None:
    help_text = Command().create_parser("manage.py", "map_course").format_help()
    assert "id:NUMBER or shortname:NAME" in " ".join(help_text.split())


def test_a_course_made_since_the_last_look_is_asked_for(connected: Connected) -> None:
    connected.sandbox.moodle.add_course("NEW", "Brand new")
    succeed("map_course", *MAP, "--course", "NEW")
    assert CourseBadgeMapping.objects.get().course.fullname == "Brand new"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--site", "Nowhere", "There is no Moodle site “Nowhere”. Known: Moodle."),
        ("--connection", "Nobody", "There is no Navigatr connection “Nobody”. Known: College."),
        ("--course", "NONE", "has no course “NONE”"),
        ("--course", "4711", "has no course “4711”"),
        ("--provider", "4711", "may not issue for provider 4711"),
        ("--provider", "12", "does not belong to this provider"),
        ("--provider", "13", "may not issue for provider 13"),
        ("--badge", "4711", "no badge with the number 4711"),
        ("--provider", "eleven", "invalid int value"),
        ("--min-score", "101", "a whole number from 0 to 100 is needed"),
        ("--min-score", "-1", "a whole number from 0 to 100 is needed"),
    ],
)
def test_what_is_unknown_is_named_and_nothing_is_saved(
    connected: Connected, option: str, value: str, said: str
) -> None:
    # The last of two equal options counts.
    done = manage("map_course", *MAP, "--course", connected.course, f"{option}={value}")
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert not CourseBadgeMapping.objects.exists()


@pytest.mark.parametrize("kind", UNISSUABLE)
def test_a_badge_that_cannot_be_issued_is_not_mapped(connected: Connected, kind: str) -> None:
    badge = connected.sandbox.navigatr.add_badge(11, "Not this one", **UNISSUABLE[kind])
    done = manage("map_course", *MAP, "--course", connected.course, "--badge", badge)
    assert done.code == 1
    assert kind in done.err
    assert "Choose a published badge" in done.err
    assert not CourseBadgeMapping.objects.exists()


def test_a_paused_connection_is_not_mapped(connected: Connected) -> None:
    NavigatrConnection.objects.update(state=NavigatrConnection.State.PAUSED)
    done = manage("map_course", *MAP, "--course", connected.course)
    assert done.code == 1
    assert "Reconnect it first" in done.err
    assert not CourseBadgeMapping.objects.exists()


def test_a_navigatr_that_is_down_saves_nothing(connected: Connected) -> None:
    connected.sandbox.faults.on("down", call="all")
    done = manage("map_course", *MAP, "--course", connected.course)
    assert done.code == 1
    assert "could not be reached" in done.err
    assert not CourseBadgeMapping.objects.exists()


def test_a_moodle_that_is_down_is_told_when_the_course_is_not_on_file(connected: Connected) -> None:
    connected.sandbox.faults.on("maintenance_cli", side=MOODLE)
    done = manage("map_course", *MAP, "--course", "NEW")
    assert done.code == 1
    assert "HTTP 503" in done.err


def test_earlier_completions_are_left_alone_unless_asked_for(connected: Connected) -> None:
    moodle = connected.sandbox.moodle
    learners = moodle.add_learners(4, course_id=connected.course)
    moodle.complete_many(connected.course, learners, at=moodle.clock() - 86_400)
    assert connected.map() == 0
    succeed("poll")
    assert Issuance.objects.count() == 0
    assert connected.map("--include-past") == 4
    assert succeed("issue")["issued"] == 4
    assert connected.map("--include-past") == 0


def test_earlier_completions_wait_for_a_moodle_that_is_down(connected: Connected) -> None:
    moodle = connected.sandbox.moodle
    moodle.complete_many(connected.course, moodle.add_learners(2), at=moodle.clock() - 86_400)
    down = connected.sandbox.faults.on("down", side=MOODLE)
    done = manage("map_course", *MAP, "--course", connected.course, "--include-past")
    assert done.code == 0
    assert "the next poll does it" in done.err
    connected.sandbox.faults.off(down.id)
    assert succeed("poll")["sites"][0]["queued"] == 2


def test_mapping_again_changes_the_badge_and_moves_what_waits(connected: Connected) -> None:
    connected.map("--min-score", 60)
    holder, *waiting = connected.complete(3, grade=80)
    connected.sandbox.faults.plan(waiting, "422")
    succeed("poll")
    assert succeed("issue") == {"attempts": 3, "issued": 1, "not_met": 0, "failed": 2, "retry": 0, "held": 0}
    connected.map("--badge", 112)
    mapping = CourseBadgeMapping.objects.get()
    # What was not named stays as it was.
    assert (mapping.badge_id, mapping.min_score) == (112, 60)
    assert succeed("issue")["issued"] == 2
    badges = {
        email: [assertion.badge_id for assertion in connected.sandbox.navigatr.assertions_for(email)]
        for email in (holder, *waiting)
    }
    assert badges == {holder: [111], waiting[0]: [112], waiting[1]: [112]}


def test_a_minimum_score_goes_only_when_that_is_asked_for(connected: Connected) -> None:
    connected.map("--min-score", 0)
    connected.map()
    assert CourseBadgeMapping.objects.get().min_score == 0
    connected.map("--no-min-score")
    assert CourseBadgeMapping.objects.get().min_score is None


def test_a_minimum_score_holds_back_who_is_below_it(connected: Connected) -> None:
    connected.map("--min-score", 60)
    (below,) = connected.complete(1, grade=59)
    (enough,) = connected.complete(1, grade=60)
    succeed("poll")
    assert succeed("issue") == {"attempts": 1, "issued": 1, "not_met": 1, "failed": 0, "retry": 0, "held": 0}
    assert (connected.badges(below), connected.badges(enough)) == (0, 1)


def test_courses_of_several_sites_go_to_several_environments(connected: Connected) -> None:
    sandbox = connected.sandbox
    production = ("--name", "Live", "--environment", "production", "--pat-stdin")
    succeed("connect_navigatr", *production, stdin=sandbox.production_pat)
    other = sandbox.moodle.add_course("OTHER", "Another course")
    connected.map()
    arguments = ("--site", "Moodle", "--course", other, "--connection", "Live", "--provider", 7011, "--badge", 7111)
    succeed("map_course", *arguments)
    (email,) = connected.complete(1)
    sandbox.moodle.complete(other, sandbox.moodle.ids_by_email(email)[0])
    succeed("poll")
    assert succeed("issue")["issued"] == 2
    assert [assertion.badge_id for assertion in sandbox.navigatr.assertions_for(email)] == [111]
    assert [assertion.badge_id for assertion in sandbox.production.assertions_for(email)] == [7111]


def test_staging_ids_are_unknown_in_production(connected: Connected) -> None:
    production = ("--name", "Live", "--environment", "production", "--pat-stdin")
    succeed("connect_navigatr", *production, stdin=connected.sandbox.production_pat)
    done = manage("map_course", *MAP, "--course", connected.course, "--connection", "Live")
    assert done.code == 1
    assert "may not issue for provider 11" in done.err
    assert not CourseBadgeMapping.objects.exists()
