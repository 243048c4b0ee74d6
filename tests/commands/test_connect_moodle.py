"""`connect_moodle`: checks before it saves, and says what the Moodle administrator must do."""

from datetime import timedelta

import pytest

from moodle_sync.models import Course, MoodleSite, MoodleSiteState
from sandbox import MOODLE, Sandbox
from tests.builders import NOW, make_learner, make_site

from .calling import manage, succeed
from .conftest import CONNECT_MOODLE

pytestmark = pytest.mark.django_db


def test_json_names_the_feed_and_what_was_looked_at(sandbox: Sandbox) -> None:
    sandbox.moodle.add_course("ÉTH-1", "Café & Éthique")
    answer = succeed("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, stdin=sandbox.moodle_token)
    assert answer.keys() == {"ok", "strategy", "feed", "findings"}
    assert (answer["ok"], answer["strategy"], answer["feed"]) == (True, "A", "A")
    assert all(finding.keys() == {"check", "ok", "message"} for finding in answer["findings"])
    assert Course.objects.get().shortname == "ÉTH-1"


def test_text_names_the_feed_and_holds_no_token(sandbox: Sandbox) -> None:
    arguments = (*CONNECT_MOODLE, "--url", sandbox.moodle_url)
    done = manage("connect_moodle", *arguments, stdin=f"\t{sandbox.moodle_token} \n")
    assert (done.code, done.err) == (0, "")
    assert "Saved. Feed: A: report feed." in done.out
    assert sandbox.moodle_token not in done.out
    saved = MoodleSite.objects.get()
    assert (saved.token, saved.poll_interval) == (sandbox.moodle_token, timedelta(minutes=1))


@pytest.mark.parametrize("page", ["", "/", "/login/index.php", "/my/"])
def test_the_address_may_be_copied_from_any_page(sandbox: Sandbox, page: str) -> None:
    succeed("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url + page, stdin=sandbox.moodle_token)
    assert MoodleSite.objects.get().url == sandbox.moodle_url


def test_without_the_report_it_reads_learner_by_learner_and_says_what_is_missing(sandbox: Sandbox) -> None:
    course = sandbox.moodle.add_course("C1", "Course")
    sandbox.moodle.add_learners(3, course_id=course)
    sandbox.faults.on("report_refused", side=MOODLE)
    done = manage("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, "--json", stdin=sandbox.moodle_token)
    assert (done.code, done.json["ok"], done.json["strategy"]) == (0, True, "B")
    assert any("Navigatr badge feed" in row["message"] for row in done.json["findings"] if not row["ok"])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("separate_groups", "moodle/site:accessallgroups"),
        ("grades_refused", "moodle/grade:viewall"),
        ("no_viewfullnames", "moodle/site:viewfullnames"),
        ("few_users", "names and addresses may not be exact"),
    ],
)
def test_it_says_what_the_administrator_must_click_and_saves_all_the_same(
    sandbox: Sandbox, fault: str, said: str
) -> None:
    course = sandbox.moodle.add_course("C1", "Course")
    sandbox.moodle.complete(course, sandbox.moodle.add_learner("Ana", "Lee", "ana@example.org"))
    sandbox.faults.on(fault, side=MOODLE)
    done = manage("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, stdin=sandbox.moodle_token)
    assert (done.code, done.err) == (0, "")
    assert any(line.startswith("✗") and said in line for line in done.out.splitlines())
    assert "Saved. Feed: A" in done.out


@pytest.mark.parametrize("fault", ["usernotfullysetup", "dbconnectionfailed", "token_expired"])
def test_what_stops_everything_saves_nothing_and_says_why(sandbox: Sandbox, fault: str) -> None:
    sandbox.faults.on(fault, side=MOODLE)
    done = manage("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, stdin=sandbox.moodle_token)
    assert done.code == 1
    said = {
        "usernotfullysetup": "fill in every required field",
        "dbconnectionfailed": "cannot reach its own database",
        "token_expired": 'without a date in "Valid until"',
    }
    assert said[fault] in done.err
    assert not MoodleSite.objects.exists()


@pytest.mark.parametrize("token", ["wrong", "", "töken"])
def test_a_bad_token_saves_nothing_and_is_not_repeated(sandbox: Sandbox, token: str) -> None:
    done = manage("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, stdin=token)
    assert (done.code, done.out) == (1, "")
    assert not token or token not in done.err
    assert not MoodleSite.objects.exists()


def test_a_failure_with_json_says_so_on_both_sides(sandbox: Sandbox) -> None:
    done = manage("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, "--json", stdin="wrong")
    assert (done.code, done.json["ok"], done.json["strategy"]) == (1, False, "")
    assert "Not saved:" in done.err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/moodle", "Nothing answers at 127.0.0.1:1"),
        ("http://no-such-host.invalid/", "There is no host named no-such-host.invalid"),
        ("ftp://moodle.example", "must start with https://"),
        ("http://[::1", "not a web address"),
        ("https://me:secret@moodle.example", "must not hold a user name or password"),
    ],
)
def test_an_address_that_leads_nowhere_saves_nothing(sandbox: Sandbox, url: str, said: str) -> None:
    done = manage("connect_moodle", *CONNECT_MOODLE, "--url", url, stdin=sandbox.moodle_token)
    assert done.code == 1
    assert said in done.err
    assert "secret" not in done.err
    assert not MoodleSite.objects.exists()


@pytest.mark.parametrize("seconds", [0, 86_401])
def test_the_pace_is_from_a_second_to_a_day(sandbox: Sandbox, seconds: int) -> None:
    arguments = (*CONNECT_MOODLE, "--url", sandbox.moodle_url, "--poll-seconds", seconds)
    done = manage("connect_moodle", *arguments, stdin=sandbox.moodle_token)
    assert done.code == 1
    assert "poll interval: " in done.err
    assert not MoodleSite.objects.exists()


def test_a_known_name_gets_the_new_token_and_keeps_its_pace(sandbox: Sandbox) -> None:
    arguments = (*CONNECT_MOODLE, "--url", sandbox.moodle_url)
    succeed("connect_moodle", *arguments, "--poll-seconds", 5, stdin=sandbox.moodle_token)
    sandbox.moodle.token = "renewed"
    assert manage("connect_moodle", *arguments, stdin="wrong").code == 1
    succeed("connect_moodle", *arguments, stdin="renewed")
    saved = MoodleSite.objects.get()
    assert (saved.token, saved.poll_interval) == ("renewed", timedelta(seconds=5))


def test_a_site_that_fails_on_reconnection_stays_as_it_was(sandbox: Sandbox) -> None:
    succeed("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, stdin=sandbox.moodle_token)
    done = manage("connect_moodle", *CONNECT_MOODLE, "--url", "http://127.0.0.1:1/", stdin="other")
    assert done.code == 1
    saved = MoodleSite.objects.get()
    assert (saved.url, saved.token, saved.state.feed) == (sandbox.moodle_url, sandbox.moodle_token, "A")


def test_courses_that_cannot_be_listed_do_not_stand_in_the_way(sandbox: Sandbox) -> None:
    sandbox.faults.on("500", side=MOODLE, call="core_course_get_courses_by_field")
    arguments = (*CONNECT_MOODLE, "--url", sandbox.moodle_url)
    assert succeed("connect_moodle", *arguments, stdin=sandbox.moodle_token)["ok"]
    assert not MoodleSite.objects.get().courses.exists()


def test_the_same_moodle_is_not_connected_twice(sandbox: Sandbox) -> None:
    make_site(name="One", url="http://elsewhere.example", wwwroot=sandbox.moodle_url)
    done = manage("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, stdin=sandbox.moodle_token)
    assert done.code == 1
    assert "already connected as “One”" in done.err
    assert MoodleSite.objects.count() == 1


def test_two_that_have_always_been_the_same_moodle_can_still_be_given_a_token(sandbox: Sandbox) -> None:
    make_site(name="One", url="http://elsewhere.example", wwwroot=sandbox.moodle_url.upper() + "/")
    make_site(name="Moodle", url=sandbox.moodle_url, wwwroot=sandbox.moodle_url)
    answer = succeed("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, stdin=sandbox.moodle_token)
    assert [finding["ok"] for finding in answer["findings"] if finding["check"] == "twin"] == [False]


def test_reconnecting_keeps_what_polls_have_noted(sandbox: Sandbox) -> None:
    succeed("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, stdin=sandbox.moodle_token)
    MoodleSiteState.objects.update(read_up_to=NOW, last_poll_at=NOW, polling_until=None)
    succeed("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, stdin=sandbox.moodle_token)
    site = MoodleSite.objects.get()
    assert (site.state.read_up_to, site.state.last_poll_at, site.state.polling_until) == (NOW, NOW, None)


def test_a_known_site_at_a_new_address_is_a_question_until_somebody_says_it_is_the_same(sandbox: Sandbox) -> None:
    before = "https://old.example"
    make_learner(make_site(name="Moodle", url=before, wwwroot=before, read_whole_at=NOW))
    arguments = (*CONNECT_MOODLE, "--url", sandbox.moodle_url)
    asked = manage("connect_moodle", *arguments, "--json", stdin=sandbox.moodle_token)
    assert asked.code == 1
    assert "nothing is read from it until the question above is answered" in asked.err
    findings = asked.json["findings"]
    [told] = [finding["message"] for finding in findings if finding["check"] == "same-moodle"]
    assert "Is this still the same Moodle? It was old.example, and now it is 127.0.0.1" in told
    state = MoodleSiteState.objects.get()
    assert state.doubt
    assert state.confirmed_at is None
    # Asking again answers nothing.
    assert manage("connect_moodle", *arguments, stdin=sandbox.moodle_token).code == 1
    assert MoodleSiteState.objects.get().doubt


def test_same_moodle_says_that_a_known_site_has_moved(sandbox: Sandbox) -> None:
    before = "https://old.example"
    make_learner(make_site(name="Moodle", url=before, wwwroot=before, read_whole_at=NOW))
    arguments = (*CONNECT_MOODLE, "--url", sandbox.moodle_url, "--same-moodle")
    answer = succeed("connect_moodle", *arguments, stdin=sandbox.moodle_token)
    assert "same-moodle" not in [finding["check"] for finding in answer["findings"]]
    state = MoodleSiteState.objects.get()
    assert (state.site.url, state.wwwroot, state.doubt, state.error) == (*[sandbox.moodle_url] * 2, "", "")
    # Everything is read again, and what has changed is accepted.
    assert state.confirmed_at is not None
    assert state.read_whole_at is None


def test_same_moodle_answers_a_question_that_was_left_open(sandbox: Sandbox) -> None:
    before = "https://old.example"
    make_learner(make_site(name="Moodle", url=before, wwwroot=before))
    arguments = (*CONNECT_MOODLE, "--url", sandbox.moodle_url)
    assert manage("connect_moodle", *arguments, stdin=sandbox.moodle_token).code == 1
    assert MoodleSiteState.objects.get().doubt
    succeed("connect_moodle", *arguments, "--same-moodle", stdin=sandbox.moodle_token)
    assert MoodleSiteState.objects.get().doubt == ""


def test_a_moved_site_from_which_nobody_is_known_is_no_question(sandbox: Sandbox) -> None:
    make_site(name="Moodle", url="https://old.example", wwwroot="https://old.example")
    answer = succeed("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, stdin=sandbox.moodle_token)
    assert "same-moodle" not in [finding["check"] for finding in answer["findings"]]
    assert MoodleSiteState.objects.get().doubt == ""
