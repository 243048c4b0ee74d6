"""One poll of one site: who may poll, what a failure leaves behind, and what a crash must not."""

import logging
from datetime import timedelta

import pytest
import responses
from cryptography.fernet import Fernet
from pytest_django.fixtures import Settings

from moodle_sync import polling
from moodle_sync.models import LONGEST_PAUSE, Completion, Learner, MoodleSite, MoodleSiteState
from moodle_sync.polling import POLL_LEASE, PollResult, read_site
from moodle_sync.reading import Stored, WantedCourse
from moodle_sync.report_feed import whole_is_due
from sandbox import MOODLE
from tests.builders import NOW, make_course, make_site

from .polled import CONFIG, COURSES, REPORT, RETRIEVE, SET_FILTERS, Polled
from .recordings import SITE, answer_by, answer_json, recording

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def nothing_stored(stored: Stored) -> int:
    raise AssertionError("nothing was to be stored")


def test_site_without_wanted_courses_is_checked_and_its_courses_are_listed(polled: Polled) -> None:
    polled.moodle.add_course("SAFE", "Safeguarding")
    result = polled.poll()
    assert (result.error, result.new_completions) == ("", 0)
    assert polled.site.courses.get().fullname == "Safeguarding"
    assert polled.site.state.next_poll_at == polled.now + polled.site.poll_interval
    assert polled.poll().calls == 0


def test_second_poll_at_the_same_time_is_refused(polled: Polled) -> None:
    course = polled.course(learners=1)
    polled.complete(course, polled.users(course)[0])
    others: list[PollResult] = []
    polled.meanwhile = lambda: others.append(
        read_site(polled.site, polled.wanted(), on_stored=nothing_stored, now=polled.now)
    )
    assert polled.poll().error == ""
    assert [(other.calls, "being polled right now" in other.error) for other in others] == [(0, True)]
    assert polled.site.state.polling_until is None
    polled.meanwhile = lambda: None
    assert polled.poll().error == ""


@pytest.mark.parametrize("fields", [{"enabled": False}, {"token": ""}, {"polling_until": NOW + MINUTE}])
def test_site_that_must_not_be_polled_is_left_alone(db: None, fields: dict[str, object]) -> None:
    site = make_site(**fields)
    result = read_site(site, [], on_stored=nothing_stored, now=NOW)
    assert "is disabled, or has no token" in result.error
    assert not MoodleSite.objects.due(NOW).exists()
    site.refresh_from_db()
    assert site.state.failures == 0


def test_poll_whose_worker_died_is_taken_over_after_the_lease(polled: Polled) -> None:
    polled.course(learners=1)
    MoodleSiteState.objects.update(polling_until=polled.now + POLL_LEASE)
    assert "being polled right now" in polled.poll(POLL_LEASE - MINUTE).error
    assert polled.poll(MINUTE).error == ""


def test_poll_that_another_one_took_over_stops_and_leaves_it_in_peace(
    polled: Polled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "RENEW_EVERY", timedelta(0))
    course = polled.course(learners=1)
    polled.complete(course, polled.users(course)[0], grade=80)
    polled.poll()
    theirs = polled.now + HOUR
    polled.moodle.uncomplete(course.moodle_id, polled.users(course)[0])
    polled.complete(course, polled.users(course)[0], ago=-HOUR)
    later = polled.course(learners=1)
    polled.complete(later, polled.users(later)[0])
    # The first of two reads: after it there is one more to make.
    polled.meanwhile = lambda: MoodleSiteState.objects.update(polling_until=theirs)
    watermark = polled.site.state.read_up_to
    result = polled.poll()
    assert "another one took over" in result.error
    assert (polled.site.state.polling_until, polled.site.state.read_up_to) == (theirs, watermark)
    assert polled.site.state.failures == 0


def test_each_site_is_due_at_its_own_interval(polled: Polled) -> None:
    polled.site.poll_interval = 5 * MINUTE
    polled.site.save()
    polled.poll()
    at = polled.now
    assert not MoodleSite.objects.due(at + 4 * MINUTE).exists()
    assert MoodleSite.objects.due(at + 5 * MINUTE).exists()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("down", "cannot be reached"),
        ("500", "HTTP 500"),
        ("maintenance", "maintenance mode"),
        ("maintenance_cli", "HTTP 503"),
        ("ws_disabled", "web services or REST are off"),
        ("token_expired", "create a new one"),
    ],
)
def test_site_that_fails_says_why_waits_longer_each_time_and_recovers(polled: Polled, fault: str, said: str) -> None:
    course = polled.course(learners=1)
    polled.poll()
    watermark = polled.site.state.read_up_to
    polled.sandbox.faults.on(fault, side=MOODLE)
    pauses = []
    for failures in range(1, 9):
        result = polled.poll()
        # Moodle forgets an expired token at its first use, and then calls it unknown.
        assert said in result.error or (fault == "token_expired" and "Create a new token" in result.error)
        assert (polled.site.state.error, polled.site.state.failures) == (result.error, failures)
        assert polled.site.state.next_poll_at is not None
        pauses.append(polled.site.state.next_poll_at - polled.now)
    assert pauses[:4] == [2 * MINUTE, 4 * MINUTE, 8 * MINUTE, 16 * MINUTE]
    assert pauses[-1] == LONGEST_PAUSE
    assert polled.site.state.read_up_to == watermark
    polled.sandbox.faults.clear()
    polled.complete(course, polled.users(course)[0])
    assert polled.poll().new_completions == 1
    assert (polled.site.state.error, polled.site.state.failures) == ("", 0)
    assert polled.site.state.next_poll_at == polled.now + polled.site.busy_interval


def test_moodle_that_asks_for_a_longer_pause_gets_it(db: None) -> None:
    site = make_site(url=SITE)
    with responses.RequestsMock() as moodle:
        answer_json(moodle, {}, status=503, headers={"Retry-After": "7200"})
        read_site(site, [], on_stored=nothing_stored, now=NOW)
    site.refresh_from_db()
    assert site.state.next_poll_at == NOW + 2 * HOUR


def test_failing_check_is_repeated_and_keeps_the_feed(polled: Polled) -> None:
    polled.course(learners=1)
    polled.poll()
    polled.sandbox.faults.on("down", side=MOODLE)
    polled.poll(DAY)
    assert (polled.site.state.feed, polled.site.state.report_id) == ("A", REPORT)
    assert [finding["ok"] for finding in polled.site.state.findings] == [False]
    polled.sandbox.faults.clear()
    polled.poll()
    assert polled.site.state.checked_at == polled.now


def test_function_taken_out_of_the_service_leads_to_the_other_feed(polled: Polled) -> None:
    course = polled.course(learners=1)
    polled.poll()
    polled.complete(course, polled.users(course)[0])
    polled.sandbox.faults.on("missing_function", side=MOODLE, call=SET_FILTERS)
    assert "accessexception" in polled.poll().error
    assert polled.poll().new_completions == 1
    assert polled.site.state.feed == "B"


def test_site_without_any_usable_feed_says_what_to_do_and_waits_longer(polled: Polled) -> None:
    polled.without_report()
    polled.sandbox.faults.on("participants_refused", side=MOODLE)
    polled.moodle.add_course("SAFE", "Safeguarding")
    result = polled.poll()
    assert "Completions cannot be read from this Moodle yet" in result.error
    assert polled.site.state.failures == 1
    assert polled.site.courses.count() == 1
    polled.sandbox.faults.clear()
    polled.poll()
    assert (polled.site.state.feed, polled.site.state.error) == ("B", "")


def test_site_is_checked_again_once_a_day(polled: Polled) -> None:
    polled.course(learners=1)
    polled.poll()
    checked_at = polled.site.state.checked_at
    polled.poll(DAY - MINUTE)
    assert polled.site.state.checked_at == checked_at
    polled.poll(MINUTE)
    assert polled.site.state.checked_at == polled.now


def test_list_of_courses_that_cannot_be_read_stops_no_badge(db: None) -> None:
    site = make_site(url=SITE)
    course = make_course(site, moodle_id=2)
    info, page = recording("site_info")["response"], recording("agreed_report_last_page")["response"]
    functions = ("core_reportbuilder_list_reports", SET_FILTERS, RETRIEVE, COURSES, CONFIG)
    info["functions"] = [{"name": name, "version": info["version"]} for name in functions]
    page["data"]["totalrowcount"] = len(page["data"]["rows"])
    recorded = {
        "core_webservice_get_site_info": info,
        "core_reportbuilder_list_reports": recording("agreed_report_list")["response"],
        SET_FILTERS: True,
        RETRIEVE: page,
        COURSES: {"errorcode": "nopermissions"},
        CONFIG: recording("timezone_not_forced_mobile_config")["response"],
    }
    with responses.RequestsMock() as moodle:
        answer_by(moodle, lambda asked: recorded[asked["wsfunction"]])
        # None of these completions is so recent that it counts.
        result = read_site(site, [WantedCourse(course, NOW)], on_stored=nothing_stored, now=NOW)
    assert result.error == ""
    assert [COURSES in problem for problem in result.problems] == [True]
    assert result.new_completions == Completion.objects.count() > 0
    site.refresh_from_db()
    assert site.state.read_up_to == NOW


def test_list_of_courses_lost_with_the_connection_fails_the_poll(polled: Polled) -> None:
    polled.course(learners=1)
    polled.sandbox.faults.on("down", side=MOODLE, call=COURSES)
    assert "cannot be reached" in polled.poll().error


def test_token_that_cannot_be_read_is_said_and_polled_again_later(polled: Polled, settings: Settings) -> None:
    polled.course(learners=1)
    keys = settings.FIELD_ENCRYPTION_KEYS
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    result = polled.poll()
    assert "FIELD_ENCRYPTION_KEYS" in result.error
    assert (polled.site.state.error, polled.site.state.failures, polled.site.state.polling_until) == (
        result.error,
        1,
        None,
    )
    settings.FIELD_ENCRYPTION_KEYS = keys
    assert polled.poll().error == ""


def test_course_wanted_afresh_stays_so_when_the_token_cannot_be_read(polled: Polled, settings: Settings) -> None:
    course = polled.course(learners=1)
    polled.poll()
    course.refresh_from_db()
    assert course.past_read_at is not None
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    wanted = WantedCourse(course, past_wanted_at=polled.now + MINUTE)
    read_site(polled.site, [wanted], on_stored=nothing_stored, now=polled.now + MINUTE)
    course.refresh_from_db()
    assert WantedCourse(course, past_wanted_at=polled.now + MINUTE).past_is_due


@pytest.mark.parametrize("report", [True, False])
def test_poll_that_is_stopped_gives_the_site_back_at_once_and_the_next_one_goes_on(
    polled: Polled, report: bool
) -> None:
    if not report:
        polled.without_report()
    course = polled.course(learners=3)
    for learner in polled.users(course):
        polled.complete(course, learner, grade=80)
    result = read_site(
        polled.site, polled.wanted(), on_stored=polled.on_stored, now=polled.now, should_stop=lambda: True
    )
    assert "stopped" in result.error
    polled.site.refresh_from_db()
    assert (polled.site.state.polling_until, polled.site.state.failures, polled.site.state.error) == (None, 0, "")
    result = polled.poll()
    assert (result.error, polled.told) == ("", polled.users(course))


def test_address_that_cannot_be_one_is_said(db: None) -> None:
    site = make_site(url="https://user:secret@moodle.example")
    result = read_site(site, [], on_stored=nothing_stored, now=NOW)
    assert "must not hold a user name or password" in result.error
    assert "secret" not in result.error
    site.refresh_from_db()
    assert (site.state.error, site.state.failures, site.state.polling_until) == (result.error, 1, None)


def test_crash_while_storing_leaves_nothing_and_repeating_doubles_nothing(polled: Polled) -> None:
    course = polled.course(learners=2)
    for user in polled.users(course):
        polled.complete(course, user)
    polled.poll()
    watermark = polled.site.state.read_up_to
    third = polled.moodle.add_learner("Zoë", "Third", "third@example.org", course_id=course.moodle_id)
    polled.complete(course, third)

    def crash() -> None:
        assert Completion.objects.count() == 3
        raise RuntimeError("the power went")

    polled.meanwhile = crash
    with pytest.raises(RuntimeError, match="the power went"):
        polled.poll()
    assert (Completion.objects.count(), Learner.objects.count()) == (2, 2)
    polled.site.refresh_from_db()
    assert (polled.site.state.read_up_to, polled.site.state.polling_until) == (watermark, None)
    polled.meanwhile = lambda: None
    assert polled.poll().new_completions == 1
    assert polled.poll().new_completions == 0
    assert Completion.objects.count() == 3


def test_first_poll_that_crashes_on_its_last_page_is_a_first_poll_again(polled: Polled) -> None:
    course = polled.course(learners=1)
    polled.complete(course, polled.users(course)[0])

    def crash() -> None:
        raise RuntimeError("the power went")

    polled.meanwhile = crash
    with pytest.raises(RuntimeError):
        polled.poll()
    polled.site.refresh_from_db()
    course.refresh_from_db()
    assert (polled.site.state.read_up_to, polled.site.state.read_whole_at, course.past_read_at) == (None, None, None)


def test_a_full_reading_is_due_at_first_and_once_a_day(db: None) -> None:
    assert whole_is_due(make_site().state, NOW)
    assert not whole_is_due(make_site(read_whole_at=NOW - DAY + MINUTE, read_up_to=NOW).state, NOW)
    assert whole_is_due(make_site(read_whole_at=NOW - DAY, read_up_to=NOW).state, NOW)


def test_no_secret_and_no_person_in_log_lines_or_errors(polled: Polled, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    course = polled.course(learners=1)
    polled.complete(course, polled.users(course)[0])
    polled.poll()
    for fault in ("token_expired", "500", "grades_refused", "report_changed"):
        polled.sandbox.faults.on(fault, side=MOODLE, count=None)
        polled.poll()
        polled.sandbox.faults.clear()
    said = caplog.text + polled.site.state.error
    assert polled.sandbox.moodle_token not in said
    assert "example.org" not in said
    assert "Learner" not in said


def test_polls_of_two_sites_keep_to_themselves(polled: Polled) -> None:
    course = polled.course(learners=1)
    (learner,) = polled.users(course)
    polled.complete(course, learner)
    polled.poll()
    other = Polled()
    with other.sandbox:
        other.connect("Other Moodle")
        theirs = other.course(learners=1)
        assert other.users(theirs) == [learner]  # the same number, another person
        other.complete(theirs, learner)
        assert other.poll().new_completions == 1
    assert Learner.objects.filter(moodle_id=learner).count() == 2
    assert RETRIEVE in polled.called


def test_course_wanted_afresh_is_read_from_the_start_even_after_a_poll_that_began_without_that_wish(
    polled: Polled,
) -> None:
    course = polled.course(learners=1, since=NOW)
    (learner,) = polled.users(course)
    polled.complete(course, learner, ago=30 * DAY)
    polled.poll()
    assert polled.told == []
    polled.poll()
    course.refresh_from_db()
    assert course.past_read_at is not None
    stored: list[Stored] = []

    def queue(batch: Stored) -> int:
        stored.append(batch)
        return len(batch.wanted)

    polled.now += timedelta(minutes=1)
    wanted = WantedCourse(course, past_wanted_at=polled.now)
    result = read_site(polled.site, [wanted], on_stored=queue, now=polled.now)
    assert (result.busy, result.queued) == (False, 2)
    assert {row.learner.moodle_id for batch in stored for row in batch.wanted} == {learner}
