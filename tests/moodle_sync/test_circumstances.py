"""What real administrators do to a Moodle, switched on in the sandbox: each is told as itself, with what to click."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from moodle_sync.client import MoodleClient
from moodle_sync.client.errors import MoodleTokenRefused, MoodleUnavailable
from moodle_sync.client.findings import MoodleFinding
from moodle_sync.client.inspection import Inspection, inspect
from sandbox import MOODLE, Sandbox
from sandbox.faults import MOODLE_KINDS
from sandbox.moodle_wire import FUNCTIONS
from tests.builders import NOW

from .polled import COURSES, ENROLLED, GRADES, MANY, REPORT, RETRIEVE, STATUS

USERS = "core_user_get_users_by_field"
LIST = "core_reportbuilder_list_reports"
CONFIG = "tool_mobile_get_config"
# The findings of a site whose report nobody shared with the account.
NO_REPORT = {"report"}
MOST_CALLS = 20


class Site:
    """A Moodle as it should be, in which a few learners have completed a course, and its check."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.moodle = sandbox.moodle
        self.course = self.moodle.add_course("SAFE101", "Safeguarding")
        self.learners = self.moodle.add_learners(5, self.course)
        teacher = self.moodle.add_learner("Tom", "Teacher", "tom@example.org")
        self.moodle.enrol(self.course, teacher, role="editingteacher")
        for number, learner in enumerate(self.learners[:4]):
            self.moodle.complete(self.course, learner, (NOW - timedelta(days=number, seconds=7)).timestamp(), grade=80)

    def fault(self, kind: str, call: str = "") -> None:
        """Switch a fault on."""
        self.sandbox.faults.on(kind, side=MOODLE, call=call)

    def check(self, most_calls: int = MOST_CALLS) -> Inspection:
        """Look at the site over real HTTP."""
        with MoodleClient(self.sandbox.moodle_url, self.sandbox.moodle_token) as client:
            result = inspect(client, now=NOW)
        assert client.calls <= most_calls
        return result


@pytest.fixture
def site() -> Iterator[Site]:
    with Sandbox(clock=NOW.timestamp) as sandbox:
        yield Site(sandbox)


def bad(result: Inspection) -> dict[str, str]:
    """What is not as it should be, by the findings' names."""
    found = [finding for finding in result.findings if not finding.ok]
    told = {finding.check: finding.message for finding in found}
    assert len(told) == len(found), "one cause, one finding"
    return told


def finding(result: Inspection, slug: str) -> MoodleFinding:
    """The only finding of this name."""
    [found] = [item for item in result.findings if item.check == slug]
    return found


def capabilities(text: str) -> set[str]:
    """The rights that a text names."""
    return set(re.findall(r"\w+/\w+:\w+", text))


@pytest.mark.parametrize("version", ["4.5", "5.0"])
def test_a_site_as_it_should_be_has_no_bad_finding(site: Site, version: str) -> None:
    site.moodle.set_site(version=version)
    result = site.check()
    assert (bad(result), result.feed, result.zone) == ({}, "A", "UTC")
    told = {item.check for item in result.findings}
    assert {"people", "participants", "names", "emails", "completion-status", "grades"} <= told


# Rights that are missing


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("gradereport_refused", {"grades": {"gradereport/user:view"}}),
        ("grades_refused", {"grades": {"moodle/grade:viewall"}}),
        ("participants_refused", {"participants": {"moodle/course:viewparticipants"}}),
        ("no_emails", {"emails": {"moodle/site:viewuseridentity"}}),
        ("no_viewfullnames", {"names": {"moodle/site:viewfullnames"}}),
        (
            "few_users",
            {"participants": {"moodle/user:viewdetails"}, "people": {"moodle/user:viewdetails"}},
        ),
        ("reportbuilder_refused", {"report": {"moodle/reportbuilder:view"}}),
        (
            "course_refused",
            dict.fromkeys(("participants", "completion-status", "grades"), {"moodle/course:view"}),
        ),
    ],
)
def test_each_missing_right_is_told_as_itself_and_as_no_other(
    site: Site, fault: str, told: dict[str, set[str]]
) -> None:
    site.fault(fault)
    result = site.check()
    assert {slug: capabilities(text) for slug, text in bad(result).items()} == told
    assert result.feed == ("B" if fault == "reportbuilder_refused" else "A")
    # The feed that is used needs none of them.
    assert result.ok


@pytest.mark.parametrize(
    ("fault", "slug", "capability"),
    [
        ("no_emails", "emails", "moodle/site:viewuseridentity"),
        ("no_viewfullnames", "names", "moodle/site:viewfullnames"),
        ("few_users", "participants", "moodle/user:viewdetails"),
        ("participants_refused", "participants", "moodle/course:viewparticipants"),
    ],
)
def test_without_the_report_these_rights_are_needed(site: Site, fault: str, slug: str, capability: str) -> None:
    site.moodle.set_report(REPORT, shared=False)
    site.fault(fault)
    result = site.check()
    assert capabilities(bad(result)[slug]) == {capability}
    # Refused participants leave no feed at all; what is left out leaves one that sees less.
    assert bad(result).keys() - NO_REPORT - {"strategy"} == {slug}
    assert result.feed == ("" if fault == "participants_refused" else "B")
    assert not result.ok


@pytest.mark.parametrize(("fault", "slug"), [("no_emails", "emails"), ("no_viewfullnames", "names")])
def test_what_accounts_leave_out_is_told_without_the_list_of_participants_too(
    site: Site, fault: str, slug: str
) -> None:
    site.fault("missing_function", ENROLLED)
    site.fault(fault)
    assert bad(site.check()).keys() == {slug, f"function-{ENROLLED}"}


def test_a_hidden_course_asks_for_viewhiddencourses_and_not_for_course_view(site: Site) -> None:
    site.moodle.set_course(site.course, visible=0)
    assert bad(site.check()) == {}
    site.fault("no_hidden_courses")
    told = bad(site.check())
    assert told.keys() == {"courses", "completion-status", "grades"}
    assert all(capabilities(text) == {"moodle/course:viewhiddencourses"} for text in told.values())
    assert f"hidden: {site.course}." in told["courses"]


def test_of_hidden_and_visible_courses_the_visible_one_is_tried(site: Site) -> None:
    other = site.moodle.add_course("H1", "Hidden", visible=0)
    site.moodle.complete(other, site.learners[0], NOW.timestamp())
    site.fault("no_hidden_courses")
    assert bad(site.check()).keys() == {"courses"}


def test_a_hidden_total_is_told_and_viewhidden_left_to_the_college(site: Site) -> None:
    site.moodle.set_course(site.course, hidden_total=True)
    told = bad(site.check())
    assert told.keys() == {"grades-hidden"}
    assert "is hidden in the gradebook" in told["grades-hidden"]
    assert capabilities(told["grades-hidden"]) == set()
    site.fault("no_viewhidden")
    told = bad(site.check())
    assert told.keys() == {"grades-hidden"}
    assert capabilities(told["grades-hidden"]) == {"moodle/grade:viewhidden"}
    assert "for the college to decide" in told["grades-hidden"]


def test_viewhidden_is_not_missed_where_nothing_is_hidden(site: Site) -> None:
    site.fault("no_viewhidden")
    assert bad(site.check()) == {}


# Separate groups


@pytest.mark.parametrize("shared", [True, False])
def test_separate_groups_ask_for_accessallgroups_and_never_for_viewdetails(site: Site, shared: bool) -> None:
    site.moodle.set_report(REPORT, shared=shared)
    site.moodle.set_course(site.course, groupmode=1)
    assert bad(site.check()).keys() == (set() if shared else NO_REPORT)
    site.fault("no_accessallgroups")
    result = site.check()
    assert bad(result).keys() - NO_REPORT == {"groups"}
    assert capabilities(finding(result, "groups").message) == {"moodle/site:accessallgroups"}
    assert f"The course {site.course} uses separate groups" in finding(result, "groups").message
    assert (result.feed, result.ok) == (("A", True) if shared else ("B", False))


def test_one_course_with_separate_groups_among_others_is_told(site: Site) -> None:
    for name in ("C2", "C3", "C4"):
        site.moodle.add_learners(2, site.moodle.add_course(name, name))
    last = site.moodle.add_course("C5", "C5")
    site.moodle.add_learners(2, last)
    site.moodle.set_course(last, groupmode=1)
    site.moodle.set_report(REPORT, shared=False)
    site.fault("no_accessallgroups")
    result = site.check()
    assert bad(result).keys() - NO_REPORT == {"groups"}
    assert f"The course {last}" in bad(result)["groups"]
    assert finding(result, "participants").ok


def test_separate_groups_are_told_without_the_list_of_participants_too(site: Site) -> None:
    site.moodle.set_course(site.course, groupmode=1)
    site.fault("no_accessallgroups")
    site.fault("missing_function", ENROLLED)
    assert bad(site.check()).keys() == {"groups", f"function-{ENROLLED}"}


# The token and its account


def test_the_findings_say_to_clear_valid_until(site: Site) -> None:
    told = finding(site.check(), "token-validity")
    assert told.ok
    assert '"Valid until"' in told.message
    assert "30 days" in told.message


def test_an_expired_token_is_told_with_its_valid_until_both_times(site: Site) -> None:
    site.fault("token_expired")
    for code in ("accessexception", "invalidtoken"):
        result = site.check()
        assert isinstance(result.failure, MoodleTokenRefused)
        assert code in bad(result)["token"]
        assert "expired" in bad(result)["token"]
        assert 'without a date in "Valid until"' in bad(result)["token"]


def test_the_findings_say_which_missing_capabilities_to_ignore(site: Site) -> None:
    told = finding(site.check(), "service-page")
    assert told.ok
    assert capabilities(told.message) == {
        "moodle/user:update",
        "moodle/user:viewhiddendetails",
        "moodle/course:useremail",
    }


@pytest.mark.parametrize("missing", ["", LIST])
def test_a_profile_with_an_empty_required_field_blames_no_role(site: Site, missing: str) -> None:
    site.fault("usernotfullysetup")
    if missing:
        # Then only the list of participants is asked, which says the same of everything.
        site.fault("missing_function", missing)
    result = site.check()
    told = bad(result)["participants" if missing else "report"]
    assert "fill in every required field" in told
    assert capabilities(" ".join(bad(result).values())) == set()
    assert isinstance(result.failure, MoodleTokenRefused)


def test_a_database_that_is_down_is_told_as_that_and_tried_again(site: Site) -> None:
    site.fault("dbconnectionfailed")
    result = site.check()
    assert bad(result).keys() == {"address"}
    assert "cannot reach its own database" in bad(result)["address"]
    assert isinstance(result.failure, MoodleUnavailable)


# The report


def test_a_missing_condition_is_one_sentence_and_not_one_for_each_row(site: Site) -> None:
    site.moodle.add_learners(20, site.course)
    site.moodle.set_report(REPORT, completed_only=False)
    result = site.check()
    assert bad(result).keys() == {"report-condition"}
    assert "lacks the condition Completed = Yes" in bad(result)["report-condition"]
    assert (result.feed, result.ok) == ("A", True)


def test_duplicate_rows_are_a_hint_by_their_label(site: Site) -> None:
    site.moodle.set_report(REPORT, unique=False)
    result = site.check()
    assert bad(result).keys() == {"report-duplicates"}
    assert '"Remove any duplicate rows"' in bad(result)["report-duplicates"]
    assert result.ok


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        (
            '"completion:timecompleted_operator":4,"completion:timecompleted_value":30,'
            '"completion:timecompleted_unit":4',
            "the time of completion (such as the last days only) (completion:timecompleted)",
        ),
        ('"enrolment:status_operator":1,"enrolment:status_value":0', "the enrolment's status"),
        ('"user:suspended_operator":2', "suspended accounts (user:suspended)"),
        ('"course:courseselector_values":[2]', "the course (course:courseselector)"),
        ('"user:profilefield_dept_operator":2', "the learner's profile (user:profilefield_dept)"),
        ('"tool_x:what_operator":2', "something else (tool_x:what)"),
    ],
)
def test_further_conditions_are_told_with_what_they_look_at(site: Site, more: str, kind: str) -> None:
    site.moodle.distort(RETRIEVE, "conditiondata", f'{{"completion:completed_operator":1,{more}}}')
    result = site.check()
    assert bad(result).keys() == {"report-conditions"}
    assert f"a further condition, on {kind}" in bad(result)["report-conditions"]
    assert result.ok


@pytest.mark.parametrize("more", ['"user:suspended_operator":0', '"course:courseselector_values":[]'])
def test_conditions_that_let_everything_pass_are_no_finding(site: Site, more: str) -> None:
    site.moodle.distort(RETRIEVE, "conditiondata", f'{{"completion:completed_operator":1,{more}}}')
    assert bad(site.check()) == {}


@pytest.mark.parametrize("name", ["Time completed", "Select course"])
def test_a_missing_filter_is_named_by_its_label(site: Site, name: str) -> None:
    site.moodle.set_report(REPORT, filters=[other for other in ("Time completed", "Select course") if other != name])
    assert f"lacks the filter: {name}." in bad(site.check())["report-filters"]


# Exactness


def test_without_accounts_names_may_not_be_exact(site: Site) -> None:
    site.fault("few_users")
    said = "names and addresses may not be exact, and suspended and deleted accounts are not noticed"
    assert said in bad(site.check())["people"]
    site.sandbox.faults.clear()
    site.fault("missing_function", USERS)
    told = bad(site.check())
    assert told.keys() == {f"function-{USERS}"}
    assert said in told[f"function-{USERS}"]


def test_one_odd_account_says_nothing_about_rights(site: Site) -> None:
    for learner in site.learners:
        site.moodle.set_name(learner, "Ann", "<Annie>")
    # Where names break a list it is asked for in halves.
    told = bad(site.check(most_calls=2 * MOST_CALLS))
    assert "people" not in told
    assert capabilities(" ".join(told.values())) == set()


def test_without_completion_status_times_may_not_be_exact(site: Site) -> None:
    site.fault("missing_function", STATUS)
    result = site.check()
    assert bad(result).keys() == {f"function-{STATUS}"}
    assert "no exact time, undone ones are noticed late" in bad(result)[f"function-{STATUS}"]
    assert result.ok
    site.sandbox.faults.clear()
    site.fault("course_refused")
    told = bad(site.check())["completion-status"]
    assert "refuses their exact times, and whether they were undone" in told


# The zone of the report's times


def test_a_forced_zone_is_used(site: Site) -> None:
    site.moodle.set_site(force_timezone="Australia/Sydney")
    result = site.check()
    assert (result.zone, bad(result)) == ("Australia/Sydney", {})
    assert "Australia/Sydney" in finding(result, "zone").message


@pytest.mark.parametrize("name", ["Mars/Olympus", "Europe", "../etc/passwd", "inf"])
def test_a_zone_that_nobody_knows_is_told_and_not_used(site: Site, name: str) -> None:
    site.moodle.set_site(force_timezone=name)
    result = site.check()
    assert (result.zone, bad(result).keys()) == ("", {"zone"})
    assert f'the time zone "{name}"' in bad(result)["zone"]
    assert "Force timezone" in bad(result)["zone"]


@pytest.mark.parametrize("name", ["", "Europe/London"])
def test_without_the_settings_a_sample_says_that_it_seems_to_be_utc(site: Site, name: str) -> None:
    site.moodle.set_site(force_timezone=name)
    site.fault("missing_function", CONFIG)
    result = site.check()
    # London in winter looks the same, so nothing is concluded.
    assert result.zone == ""
    assert bad(result).keys() == {"zone", f"function-{CONFIG}"}
    assert "seems to be UTC" in bad(result)["zone"]
    assert "Add tool_mobile_get_config" in bad(result)["zone"]


@pytest.mark.parametrize(
    ("name", "offset"), [("Australia/Sydney", "+11:00"), ("America/New_York", "-5:00"), ("Asia/Kolkata", "+5:30")]
)
def test_without_the_settings_a_sample_says_how_far_off_the_times_are(site: Site, name: str, offset: str) -> None:
    site.moodle.set_site(force_timezone=name)
    site.fault("missing_function", CONFIG)
    result = site.check()
    assert result.zone == ""
    assert f"{offset} from UTC" in bad(result)["zone"]
    assert "Add tool_mobile_get_config" in bad(result)["zone"]


def test_a_sample_that_does_not_agree_with_itself_says_nothing(site: Site) -> None:
    # Two completions on either side of the end of summer time.
    site.moodle.set_site(force_timezone="Europe/London")
    for learner in site.learners[1:4]:
        site.moodle.uncomplete(site.course, learner)
    site.moodle.complete(site.course, site.learners[1], (NOW - timedelta(days=60)).timestamp())
    site.fault("missing_function", CONFIG)
    told = bad(site.check())["zone"]
    assert told.startswith("The time zone of the report's times is unknown, so each learner's exact time")


# What it costs


@pytest.mark.parametrize("kind", [kind for kind in MOODLE_KINDS if kind not in ("slow", "drip_headers", "drip_body")])
def test_no_fault_makes_the_check_long_or_fail(site: Site, kind: str) -> None:
    site.fault(kind)
    for name in ("A2", "A3", "A4"):
        other = site.moodle.add_course(name, name)
        site.moodle.complete(other, site.learners[0], NOW.timestamp())
    # Where these fail the most has to be asked.
    site.fault("500", CONFIG)
    site.fault("missing_function", MANY)
    assert site.check().findings


@pytest.mark.parametrize("function", sorted(FUNCTIONS.keys() - {"core_webservice_get_site_info"}))
def test_each_function_may_be_missing(site: Site, function: str) -> None:
    site.fault("missing_function", function)
    result = site.check()
    assert result.failure is None
    if function in {COURSES, ENROLLED, GRADES, MANY, STATUS, USERS, CONFIG} or "reportbuilder" in function:
        assert function in bad(result)[f"function-{function}"]
    assert result.feed == ("B" if "reportbuilder" in function else "A")
