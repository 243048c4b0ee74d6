"""What was found out about Moodle 4.5 and 5.0 (docs/moodle-api.md), replayed through the client."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import responses

from moodle_sync.client import MoodleClient
from moodle_sync.client.errors import (
    MoodleError,
    MoodleGone,
    MoodleLearnerGone,
    MoodleNotAllowed,
    MoodleNotTracked,
    MoodleSomethingGone,
    MoodleUnexpected,
    MoodleUnreadable,
)
from moodle_sync.client.functions import BATCH, COMPLETION, GRADES, USERS
from moodle_sync.client.records import CompletionStatus, Grade, LocationSettings, User
from moodle_sync.client.report_cells import ReportRow, parse_page
from moodle_sync.completing import is_again
from moodle_sync.models import Completion, Course
from moodle_sync.reading import Seen
from moodle_sync.times import exact_time, from_clock
from tests.moodle_sync.recordings import SITE, TOKEN, answer_by, answer_json, answer_with, form, recording, sent

NOW = datetime(2026, 11, 27, 13, 0, tzinfo=UTC)
Source = Completion.TimeSource


@pytest.fixture
def moodle() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def client() -> Iterator[MoodleClient]:
    with MoodleClient(SITE, TOKEN) as client:
        yield client


def rows_of(client: MoodleClient, moodle: responses.RequestsMock, name: str) -> list[ReportRow]:
    """The rows of a recorded page, all of which can be read."""
    answer_with(moodle, name)
    found = parse_page(client.report_page(4, 0), site_urls=[SITE])
    assert (found.problems, found.warnings) == ([], [])
    return found.rows


def seen(row: ReportRow) -> Seen:
    """A row of a report that shows times in UTC, as the feed hands it over."""
    completed_at, doubtful = from_clock(row.clock_time, UTC, since=None, now=NOW)
    return Seen(
        Course(), row.user_id, row.firstname, row.lastname, row.email, completed_at, Source.REPORT, doubtful=doubtful
    )


def at(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


# 1. An error may have no errorcode.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("error_course_ids_one_unknown", MoodleUnreadable),
        ("error_course_ids_one_deleted", MoodleUnreadable),
        ("error_course_ids_one_unknown_50", MoodleUnreadable),
        ("error_course_ids_empty", MoodleUnexpected),
        ("error_course_ids_bad", MoodleUnexpected),
    ],
)
def test_an_exception_is_an_error_with_or_without_an_errorcode(
    name: str, kind: type[MoodleError], moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, name)
    with pytest.raises(MoodleError) as error:
        client.courses()
    assert type(error.value) is kind


@pytest.mark.parametrize("name", ["course_lifecycle_after_id_deleted", "course_by_id_unknown_50"])
def test_a_deleted_course_spoils_no_other_and_is_no_error(
    name: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    there = recording("courses_by_field_id")["response"]
    gone = recording(name)
    number = int(gone["request"]["params"]["value"])
    answer_by(moodle, lambda fields: gone["response"] if int(fields["value"]) == number else there)
    assert [course.id for course in client.courses(ids=[3, number])] == [3]
    assert {fields["field"] for fields in sent(moodle)} == {"id"}
    assert client.oddities == []


# 2. One learner can break a whole list.


def answer_about(moodle: responses.RequestsMock, spoiling: dict[int, str], good: str) -> None:
    """Let accounts be told from the recording `good`; a list with one of `spoiling` gets that recording's answer."""
    known = {user["id"]: user for user in recording(good)["response"]}

    def answer(fields: dict[str, str]) -> Any:
        asked = [int(value) for name, value in fields.items() if name.startswith("values[")]
        spoilt = next((number for number in asked if number in spoiling), None)
        if spoilt is not None:
            return recording(spoiling[spoilt])["response"]
        return [known[number] for number in asked if number in known]

    answer_by(moodle, answer)


@pytest.mark.parametrize(
    ("spoiler", "name", "good", "kind"),
    [
        (3407, "error_users_by_id_tag_in_a_name", "escaping_users_by_id", MoodleUnreadable),
        (3415, "error_users_by_id_deleted_account", "escaping_users_by_id", MoodleLearnerGone),
        (423, "error_users_by_id_deleted_account_50", "users_by_id_50", MoodleSomethingGone),
    ],
)
def test_one_account_that_spoils_the_list_is_named_and_the_others_are_read(
    spoiler: int,
    name: str,
    good: str,
    kind: type[MoodleError],
    moodle: responses.RequestsMock,
    client: MoodleClient,
) -> None:
    others = [user["id"] for user in recording(good)["response"]]
    answer_about(moodle, {spoiler: name}, good)
    users = client.users([others[0], spoiler, *others[1:], 999999])
    assert type(users.pop(spoiler)) is kind
    assert users.keys() == set(others)
    assert all(isinstance(user, User) for user in users.values())


def test_an_account_just_deleted_has_a_hash_for_an_address(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, "lifecycle_users_after")
    users = client.users(range(3415, 3426))
    una, sam = users[3415], users[3416]
    assert isinstance(una, User)
    assert una.email == "d4ad7a91c05ce7f069a2555bba5b34ff"
    assert isinstance(sam, User)
    assert (sam.email, sam.suspended) == ("life02@lab.example", True)


@pytest.mark.parametrize("name", ["error_enrolled_users_tag_in_a_name", "error_enrolled_users_tag_in_a_name_50"])
def test_a_name_with_a_tag_costs_its_own_place_in_the_list_only(
    name: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    there = recording("enrolled_users_page_without_the_tag")["response"]

    def answer(fields: dict[str, str]) -> Any:
        options = {fields[f"options[{n}][name]"]: fields[f"options[{n}][value]"] for n in range(4)}
        first, number = int(options["limitfrom"]), int(options["limitnumber"])
        if first <= 2 < first + number:
            return recording(name)["response"]
        return there[first : first + number]

    answer_by(moodle, answer)
    users = client.enrolled_users(38, offset=0, limit=100)
    [(text, values)] = client.oddities
    assert values == {"id": 38, "number": 3}
    assert "number 3 of the course 38" in text.format(**values)
    assert client.calls < 2 * 8
    assert [(user.id, user.firstname, user.lastname) for user in users] == [
        (3404, "Siobhán", "O'Connor"),
        (3405, "Amp & Sand", 'Smith & "Sons"'),
    ]


def test_a_name_with_a_tag_hides_account_and_grade_but_not_the_completion(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answers = {
        COMPLETION: "completion_status_tag_in_a_name",
        USERS: "error_users_by_id_tag_in_a_name",
        GRADES: "error_grade_items_tag_in_a_name",
    }
    answer_by(moodle, lambda fields: recording(answers[fields["wsfunction"]])["response"])
    [told] = client.learner_facts([(38, 3407)], available=set(answers), grades=True)
    facts = told[38, 3407]
    time = at(1795614827)
    assert facts.status == CompletionStatus(True, time, time, frozenset({time}))
    assert (type(facts.user), type(facts.grade)) == (MoodleUnreadable, MoodleUnreadable)


@pytest.mark.parametrize(
    ("spoilt", "name", "good", "bad", "kind"),
    [
        ("error_users_by_id_tag_in_a_name", "mobile_batch_tag_in_a_name", 3404, 3407, MoodleUnreadable),
        ("error_users_by_id_tag_in_a_name_50", "mobile_batch_tag_in_a_name", 3404, 3407, MoodleUnreadable),
        ("error_users_by_id_deleted_account", "mobile_batch_users_one_by_one", 3416, 3415, MoodleLearnerGone),
        ("error_users_by_id_deleted_account_50", "mobile_batch_users_one_by_one", 3416, 3415, MoodleLearnerGone),
    ],
)
def test_of_a_list_that_moodle_refuses_the_culprit_is_named_and_the_rest_asked_for_anew(
    spoilt: str,
    name: str,
    good: int,
    bad: int,
    kind: type[MoodleError],
    moodle: responses.RequestsMock,
    client: MoodleClient,
) -> None:
    recorded = recording(name)
    asked = [json.loads(one["arguments"])["values"] for one in recorded["request"]["params"]["requests"]]
    last = asked[2][0]
    answer_with(moodle, spoilt)
    answer_with(moodle, name)
    answer_json(moodle, {"responses": [{"error": False, "data": json.dumps([{"id": last, "firstname": "Ana"}])}]})
    [told] = client.learner_facts([(2, number) for [number] in asked], available={USERS, BATCH}, grades=False)
    assert isinstance(told[2, good].user, User)
    assert type(told[2, bad].user) is kind
    assert isinstance(told[2, last].user, User)
    assert client.calls == 3


# 3. Report cells are not plain text.


@pytest.mark.parametrize(
    ("report", "accounts"),
    [
        ("escaping_report_rows", "escaping_users_by_id"),
        ("escaping_report_rows_raw", "escaping_users_by_id_raw"),
        ("escaping_report_rows_50", "escaping_users_by_id_50"),
        ("escaping_report_rows_raw_50", "escaping_users_by_id_50"),
    ],
)
def test_the_report_gives_the_person_that_the_account_gives_letter_by_letter(
    report: str, accounts: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    rows = {row.user_id: row for row in rows_of(client, moodle, report)}
    answer_with(moodle, accounts)
    users = client.users(rows)
    compared = {number: user for number, user in users.items() if isinstance(user, User)}
    assert compared
    for number, user in compared.items():
        row = rows[number]
        assert (row.firstname, row.lastname, row.email) == (user.firstname, user.lastname, user.email)


def test_names_with_tags_are_read_from_the_report(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    rows = {row.user_id: row for row in rows_of(client, moodle, "escaping_report_rows")}
    assert (rows[3407].firstname, rows[3407].lastname) == ("Ann <Annie>", "2 < 3 + 4")
    assert (rows[3411].firstname, rows[3411].lastname) == ("<b>Bold</b>", "Tail ")
    assert rows[3410].lastname == "{mlang en}Doe{mlang}"
    assert {row.course_fullname for row in rows.values()} == {'O\'Neil & Sons "A+" 🎓 1 < 2  +44', "Names with tags"}


def test_an_entity_by_number_comes_as_it_is_stored(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    [row] = rows_of(client, moodle, "escaping_report_numeric_entity")
    answer_with(moodle, "escaping_users_by_id_numeric_entity")
    user = client.users([3414])[3414]
    assert isinstance(user, User)
    assert row.lastname == user.lastname == "O&#39;Num &#x26; &lt;"


# 4. The largest time of the criteria is not always the course's.

ANY = [
    (52, "completion_any_first_criterion_then_second", 1795781823),
    (53, "completion_any_both_before_the_task", 1795781963),
    (54, "completion_any_one_criterion_only", 1795781966),
]


@pytest.mark.parametrize(("user_id", "name", "second"), ANY)
def test_with_any_criterion_the_report_says_which_time_is_the_courses(
    user_id: int, name: str, second: int, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    row = next(row for row in rows_of(client, moodle, "completion_any_report") if row.user_id == user_id)
    answer_with(moodle, name)
    status = client.completion_status(41, user_id)
    assert exact_time(seen(row), status, since=None, now=NOW) == (at(second), Source.CRITERIA)


@pytest.mark.parametrize(("user_id", "name", "second"), ANY)
def test_with_any_criterion_and_no_report_the_earliest_time_is_taken(
    user_id: int, name: str, second: int, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, name)
    status = client.completion_status(41, user_id)
    assert status.earliest is not None
    assert status.latest is not None
    assert status.earliest <= at(second) <= status.latest
    assert status.is_exact is (user_id == 54)
    unknown = Seen(Course(), user_id, None, None, None, None, Source.REPORT, doubtful=True)
    assert exact_time(unknown, status, since=None, now=NOW) == (status.earliest, Source.CRITERIA)
    # What Moodle's own filter says leaves the second of the two.
    since = at(second)
    assert exact_time(unknown, status, since=since, now=NOW) == (
        min(time for time in status.times if time >= since),
        Source.CRITERIA,
    )


# 5. Refusals that look like others.


@pytest.mark.parametrize(
    ("name", "kind", "advice"),
    [
        ("separate_groups_completion_status", MoodleNotAllowed, "moodle/site:accessallgroups"),
        ("lifecycle_completion_unconfirmed", MoodleNotTracked, "not confirmed"),
        ("lifecycle_completion_unenrolled", MoodleNotTracked, "not enrolled"),
        ("lifecycle_completion_enrolment_suspended", MoodleNotTracked, "not enrolled"),
        ("lifecycle_completion_account_deleted", MoodleLearnerGone, "deleted"),
        ("lifecycle_completion_course_deleted", MoodleGone, "no longer exists"),
    ],
)
def test_a_completion_that_is_refused_says_why(
    name: str, kind: type[MoodleError], advice: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, name)
    with pytest.raises(MoodleError) as error:
        client.completion_status(39, 3424)
    assert type(error.value) is kind
    assert advice in error.value.advice


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grade_items_hidden_total", Grade(None, total_missing=True)),
        ("grade_items_hidden_total_viewhidden", Grade(None, hidden=True)),
    ],
)
def test_a_hidden_total_is_told_apart_from_none(
    name: str, expected: Grade, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, name)
    [told] = client.learner_facts([(11, 5)], available={GRADES}, grades=True)
    assert told[11, 5].grade == expected


# 6. Names come as stored, whatever the setting raw says.

STORED = [
    (3404, "Siobhán", "O'Connor", "siobhan.o'connor+badge@lab.example"),
    (3405, "Amp & Sand", 'Smith & "Sons"', "a&b@lab.example"),
    (3406, "Amp &amp; Sand", "Lt &lt; Sign", "amp.sand@lab.example"),
    (3408, "Zoë 🎓", "Łukasz+1", "zoë@lab.example"),
    (3409, "محمد", "الأحمد", "m@lab.example"),
    (3412, " Lead", "Double  Space", "lead@lab.example"),
    (3413, "N/A", "-", "Upper.Case@Lab.Example"),
    (3414, "Less", "2 < 3 + 4 > 1", "less@lab.example"),
]


@pytest.mark.parametrize("name", ["escaping_users_by_id", "escaping_users_by_id_raw"])
def test_accounts_tell_names_as_stored(name: str, moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_with(moodle, name)
    users = client.users([number for number, *_ in STORED])
    assert users == {
        number: User(number, firstname, lastname, email, suspended=False)
        for number, firstname, lastname, email in STORED
    }


@pytest.mark.parametrize("name", ["escaping_enrolled_users", "escaping_enrolled_users_raw"])
def test_participants_have_names_as_stored(name: str, moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_with(moodle, name)
    users = client.enrolled_users(32)
    assert [(user.id, user.firstname, user.lastname, user.email) for user in users] == STORED


# 7. The time zone that is asked for loses against a forced one.


def test_the_forced_zone_is_told_and_decides(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_with(moodle, "timezone_forced_sydney_mobile_config_section")
    settings = client.location_settings()
    assert settings == LocationSettings(forced="Australia/Sydney")
    rows = {row.course_id: row for row in rows_of(client, moodle, "timezone_forced_sydney_report")}
    assert form(moodle.calls[-1].request)["moodlewssettingtimezone"] == "UTC"
    # 12:34:56 in UTC.
    assert rows[33].clock_time == datetime(2026, 7, 1, 22, 34)
    answer_with(moodle, "timezone_forced_completion_status_summer")
    assert client.completion_status(33, 3404).earliest == datetime(2026, 7, 1, 12, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize("name", ["timezone_not_forced_mobile_config", "timezone_mobile_config_section_50"])
def test_no_forced_zone_is_told_as_99(name: str, moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_with(moodle, name)
    assert client.location_settings().forced == ""


# 8. A batch drops the settings of the call.


def test_each_request_of_a_batch_has_settings_of_its_own(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    shown = recording("mobile_batch_settings_of_one_request")
    assert shown["request"]["params"]["requests"][0]["settingfilter"] == 1
    stored = json.loads(shown["response"]["responses"][0]["data"])
    raw = next(one for one in recording("escaping_course_names_raw")["response"]["courses"] if one["id"] == 34)
    stored["courses"][0] |= raw
    answer_json(moodle, {"responses": [{"error": False, "data": json.dumps(stored)}, *shown["response"]["responses"]]})
    [course] = client.courses(ids=[34], batch=True)
    assert course.fullname == "First aid & rescue"
    assert course.shortname == raw["shortname"]
    [fields] = sent(moodle)
    settings = {name: value for name, value in fields.items() if "][setting" in name}
    assert settings == {"requests[0][settingraw]": "1", "requests[1][settingfilter]": "1"}


def test_an_error_of_php_in_a_batch_names_the_course(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_with(moodle, "mobile_batch_php_error")
    there = {"error": False, "data": json.dumps(recording("courses_by_field_id")["response"])}
    answer_json(moodle, {"responses": [there] * 3})
    assert [course.id for course in client.courses(ids=[999999, 3], batch=True)] == [3]
    [(_, values)] = client.oddities
    assert (values["what"], values["id"]) == ("course", 999999)


# 9. A completion may come back with its old time.


def test_a_completion_that_comes_back_with_its_old_time_is_no_second_one(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    [before] = rows_of(client, moodle, "reset_course_report_before")
    assert rows_of(client, moodle, "reset_course_report_unlocked") == []
    [after] = rows_of(client, moodle, "reset_course_report_after_tasks")
    assert before == after
    statuses = []
    for when in ("before", "unlocked", "after_tasks"):
        answer_with(moodle, f"reset_course_status_{when}")
        statuses.append(client.completion_status(13, 62))
    assert statuses[0] == statuses[2]
    assert (statuses[0].completed, statuses[0].earliest) == (True, at(1795782171))
    assert statuses[1] == CompletionStatus(False)
    completed_at, source = exact_time(seen(before), statuses[0], since=None, now=NOW)
    assert (completed_at, source) == (at(1795782171), Source.CRITERIA)
    assert not is_again(Completion(completed_at=completed_at, time_source=source), seen(after))
