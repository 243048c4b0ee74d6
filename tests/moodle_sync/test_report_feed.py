"""Feed A against the sandbox: what is read, what it costs, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest
import responses

from moodle_sync import report_feed
from moodle_sync.models import Completion, Course, Learner, MoodleSiteState
from moodle_sync.plain_letters import plain_letters
from moodle_sync.polling import read_site
from moodle_sync.reading import WantedCourse
from tests.builders import NOW, make_course, make_site

from .polled import COURSES, ENROLLED, GRADES, MANY, REPORT, RETRIEVE, SET_FILTERS, Polled
from .recordings import SITE, answer_by, answer_json, recording

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def test_first_poll_reads_all_that_is_there(polled: Polled) -> None:
    course = polled.course(learners=3)
    first, second, _ = polled.users(course)
    polled.complete(course, first, ago=400 * DAY)
    polled.complete(course, second, ago=HOUR)
    result = polled.poll()
    assert (result.new_completions, result.queued, result.error, result.problems) == (2, 2, "", [])
    assert result.calls == len(polled.called)
    assert polled.told == [first, second]
    row = polled.completion(course, second)
    assert row.completed_at == datetime(2026, 11, 23, 11, 30, tzinfo=UTC)
    assert row.time_source == Completion.TimeSource.CRITERIA
    assert row.learner.email == f"learner{second}@example.org"
    assert (
        polled.site.state.read_up_to == polled.site.state.read_whole_at == polled.site.state.last_poll_at == polled.now
    )
    course.refresh_from_db()
    assert course.past_read_at == course.read_at == polled.now


@pytest.mark.parametrize("courses", [1, 7])
def test_nothing_new_costs_two_calls_whatever_the_number_of_courses(polled: Polled, courses: int) -> None:
    for _ in range(courses):
        course = polled.course(learners=2)
        polled.complete(course, polled.users(course)[0], ago=HOUR)
    polled.poll()
    result = polled.poll()
    assert polled.called == [SET_FILTERS, RETRIEVE]
    assert (result.calls, result.new_completions) == (2, 0)


def test_completion_of_the_last_two_days_that_showed_up_late_is_found(polled: Polled) -> None:
    course = polled.course(learners=2)
    late, too_late = polled.users(course)
    polled.poll()
    polled.complete(course, late, ago=timedelta(hours=47))
    polled.complete(course, too_late, ago=timedelta(hours=49))
    assert polled.poll(timedelta(minutes=15)).new_completions == 1
    assert polled.told == [late]


def test_daily_sweep_finds_what_is_older_than_the_overlap(polled: Polled) -> None:
    course = polled.course(learners=1)
    (learner,) = polled.users(course)
    polled.poll()
    polled.complete(course, learner, ago=30 * DAY)
    assert polled.poll(timedelta(hours=23)).new_completions == 0
    assert polled.poll(HOUR).new_completions == 1
    assert polled.site.state.read_whole_at == polled.now


def test_newly_wanted_course_is_read_with_its_history(polled: Polled) -> None:
    polled.course(learners=1)
    polled.poll()
    later = polled.course(learners=2)
    old, _ = polled.users(later)
    polled.complete(later, old, ago=90 * DAY)
    polled.poll()
    assert polled.told == [old]
    # What is new of it, then all of it, then what is new of all courses.
    assert polled.called == [*[SET_FILTERS, RETRIEVE] * 2, MANY, SET_FILTERS, RETRIEVE]
    polled.poll()
    assert polled.called == [SET_FILTERS, RETRIEVE]


def test_newly_wanted_course_passes_on_who_left_it_since(polled: Polled) -> None:
    course = polled.course(learners=1, since=polled.now)
    (learner,) = polled.users(course)
    polled.complete(course, learner, ago=30 * DAY)
    polled.poll()
    assert polled.told == []
    polled.moodle.unenrol(course.moodle_id, learner)
    # What the wizard does for "also those who have already completed".
    polled.since.clear()
    Course.objects.filter(pk=course.pk).update(past_read_at=None)
    other = polled.course(learners=1)
    polled.complete(other, polled.users(other)[0])
    polled.complete(course, polled.users(other)[0])
    polled.poll()
    assert learner in polled.told


def test_only_completions_from_the_time_on_count_and_the_minute_decides(polled: Polled) -> None:
    # The report cuts the seconds off: 12:30:10 stands there as 12:30.
    course = polled.course(learners=2, since=polled.now + timedelta(seconds=5))
    before, after = polled.users(course)
    polled.complete(course, before, ago=timedelta(minutes=1))
    polled.complete(course, after, ago=timedelta(seconds=-10))
    result = polled.poll()
    assert (result.new_completions, polled.told) == (2, [after])


def test_rows_of_other_courses_are_left_alone(polled: Polled) -> None:
    course = polled.course(learners=1)
    other = make_course(polled.site, moodle_id=polled.moodle.add_course("OTHER", "Not mapped"))
    (learner,) = polled.users(course)
    polled.complete(other, learner)
    polled.complete(course, learner)
    polled.poll()
    assert [row.course for row in Completion.objects.all()] == [course]


@pytest.mark.slow
def test_long_list_of_courses_is_filtered_here(polled: Polled) -> None:
    course = polled.course(learners=1)
    for number in range(1000, 1200):
        polled.want(make_course(polled.site, moodle_id=number))
    other = polled.moodle.add_course("OTHER", "Not mapped")
    (learner,) = polled.users(course)
    polled.complete(course, learner)
    polled.moodle.complete(other, learner)
    assert polled.poll().new_completions == 1


def test_rows_of_several_pages_are_all_read(polled: Polled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_feed, "PER_PAGE", 400)
    course = polled.course(learners=1001)
    polled.moodle.complete_many(course.moodle_id, polled.users(course), polled.now.timestamp())
    course_ids = polled.users(course)
    polled.since[course.pk] = polled.now + DAY  # nobody counts, so no grades are read
    result = polled.poll()
    assert result.new_completions == len(course_ids) == 1001
    assert polled.called.count(RETRIEVE) - 3 == 3  # the check reads three times


@pytest.mark.slow
def test_nothing_new_costs_two_calls_after_a_busy_day_too(polled: Polled) -> None:
    course = polled.course(learners=700, since=polled.now + DAY)  # nobody counts, so no grades are read
    polled.moodle.complete_many(course.moodle_id, polled.users(course), polled.now.timestamp())
    polled.poll()
    assert polled.poll().new_completions == 0
    assert polled.called == [SET_FILTERS, RETRIEVE]


def test_large_pages_that_are_cut_short_on_the_way_are_read_as_small_ones(db: None) -> None:
    page = recording("agreed_report_page0")["response"]
    row = page["data"]["rows"][0]["columns"]
    rows = [
        {"columns": [*row[:2], f'<a href="{SITE}/user/profile.php?id={number}">Ana</a>', *row[3:]]}
        for number in range(1, 801)
    ]
    page["data"]["totalrowcount"] = len(rows)
    asked_for = []

    def answer(asked: dict[str, str]) -> object:
        if asked["wsfunction"] == SET_FILTERS:
            return True
        number, size = int(asked["page"]), int(asked["perpage"])
        asked_for.append((number, size))
        page["data"]["rows"] = rows[number * size : number * size + min(size, 500)]
        return page

    site = make_site(url=SITE, feed="A", report_id=4, checked_at=NOW)
    course = make_course(site, moodle_id=2)
    with responses.RequestsMock() as moodle:
        answer_by(moodle, answer)
        result = read_site(site, [WantedCourse(course, NOW + DAY)], on_stored=lambda stored: 0, now=NOW)
    assert asked_for == [(0, 2000), (0, 500), (1, 500)] * 2  # what is new first, as no zone is known
    assert (result.error, result.new_completions) == ("", 800)


@pytest.mark.parametrize(
    ("firstname", "lastname"),
    [("Ольга", "Иванова"), ("陈", "O’Brien & Söhne"), ("يوسف", "Łukasz"), ("Tom & <Jerry", 'de "la" Cruz')],
)
def test_names_of_any_script_survive(polled: Polled, firstname: str, lastname: str) -> None:
    course = polled.course()
    learner = polled.moodle.add_learner(firstname, lastname, "ana+x@example.org", course_id=course.moodle_id)
    polled.complete(course, learner)
    polled.poll()
    row = polled.learner(learner)
    assert (row.firstname, row.lastname, row.email) == (firstname, lastname, "ana+x@example.org")


def test_report_with_other_columns_is_refused_with_the_reason_and_the_site_is_checked_again(polled: Polled) -> None:
    course = polled.course(learners=1)
    polled.poll()
    watermark = polled.site.state.read_up_to
    polled.complete(course, polled.users(course)[0])
    columns = polled.moodle.reports[REPORT].columns
    polled.moodle.set_report(REPORT, columns=columns[:-1])
    result = polled.poll()
    assert "10 columns expected, 9 found" in result.error
    assert "Course full name with link" in result.error
    assert (polled.site.state.error, polled.site.state.read_up_to) == (result.error, watermark)
    assert Completion.objects.count() == 0
    # The next poll checks the site and finds that the other feed can be used.
    assert polled.poll().error == ""
    assert polled.site.state.feed == "B"
    assert polled.told == polled.users(course)
    # Once the report is mended, the daily check returns to it, and nobody is new.
    polled.moodle.set_report(REPORT, columns=columns)
    assert polled.poll(DAY).new_completions == 0
    assert polled.site.state.feed == "A"


def test_deleted_report_is_looked_for_again(polled: Polled) -> None:
    course = polled.course(learners=1)
    polled.poll()
    report = polled.moodle.reports.pop(REPORT)
    assert "invalidrecord" in polled.poll().error
    number = polled.moodle.add_report(report.name, report.columns)
    polled.complete(course, polled.users(course)[0])
    assert polled.poll().new_completions == 1
    assert polled.site.state.report_id == number


def test_site_without_report_id_says_so_and_is_checked(polled: Polled) -> None:
    polled.course(learners=1)
    polled.poll()
    MoodleSiteState.objects.update(report_id=None)
    assert "the report was not found" in polled.poll().error
    assert polled.poll().error == ""


def test_report_that_is_suddenly_empty_is_refused_until_it_is_not(
    polled: Polled, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = polled.course(learners=2)
    first, second = polled.users(course)
    polled.complete(course, first)
    polled.poll()
    with monkeypatch.context() as patch:
        patch.setattr(polled.moodle, "rows", lambda report_id: [])
        result = polled.poll(DAY)
    assert "it lacks learners whom Moodle shows as having completed the course" in result.error
    assert polled.site.state.read_whole_at != polled.now
    polled.complete(course, second)
    assert polled.poll(HOUR).new_completions == 1
    assert polled.site.state.read_whole_at == polled.now
    assert polled.site.state.error == ""


def test_report_that_is_empty_because_everybody_has_left_is_believed(polled: Polled) -> None:
    course = polled.course(learners=3)
    for learner in polled.users(course):
        polled.complete(course, learner)
    polled.poll()
    for learner in list(polled.users(course)):
        polled.moodle.unenrol(course.moodle_id, learner)
    for _ in range(3):
        assert polled.poll(DAY).error == ""
        assert polled.site.state.read_whole_at == polled.now


def test_row_that_cannot_be_read_is_named_and_stops_no_other(db: None) -> None:
    page = recording("agreed_report_page0")["response"]
    page["data"]["totalrowcount"] = len(page["data"]["rows"])
    in_course = [row for row in page["data"]["rows"] if 'view.php?id=2"' in row["columns"][0]]
    odd = page["data"]["rows"].index(in_course[1])
    in_course[1]["columns"][2] = "no link"
    site = make_site(url=SITE, feed="A", report_id=4, checked_at=NOW, functions=[])
    course = make_course(site, moodle_id=2)
    with responses.RequestsMock() as moodle:
        answer_json(moodle, True)
        answer_json(moodle, page)
        result = read_site(site, [WantedCourse(course)], on_stored=lambda stored: len(stored.wanted), now=NOW)
    assert result.problems == [f"Navigatr badge feed: row {odd + 1} of page 1: person is not a link"]
    assert result.queued == len(in_course) - 1 == Completion.objects.count()
    site.refresh_from_db()
    assert (site.state.error, site.state.read_up_to) == (result.problems[0], NOW)


def test_completed_again_is_noted_beside_the_first_time(polled: Polled) -> None:
    course = polled.course(learners=1)
    (learner,) = polled.users(course)
    polled.complete(course, learner, ago=HOUR, grade=50)
    polled.poll()
    first = polled.completion(course, learner)
    for _time in range(2):
        polled.moodle.uncomplete(course.moodle_id, learner)
        polled.complete(course, learner, grade=90)
        polled.poll()
        again = polled.completion(course, learner)
        assert (again.completed_at, again.time_source) == (first.completed_at, first.time_source)
        assert again.completed_again_at == polled.now - timedelta(minutes=1)
        assert again.score == 90
        assert [stored.again for stored in polled.batches if stored.again] == [[again.pk]]
        # It is noticed once, although later polls read it again.
        read_at = again.score_read_at
        polled.poll()
        assert polled.completion(course, learner).score_read_at == read_at


def test_a_mapping_made_since_wants_who_completed_again(polled: Polled) -> None:
    course = polled.course(learners=1)
    (learner,) = polled.users(course)
    polled.complete(course, learner, ago=HOUR)
    polled.poll()
    polled.since[course.pk] = polled.now
    polled.poll()
    assert polled.told == []
    polled.moodle.uncomplete(course.moodle_id, learner)
    polled.complete(course, learner)
    polled.poll()
    assert polled.told == [learner]


def test_learner_who_left_and_came_back_is_not_new(polled: Polled) -> None:
    course = polled.course(learners=1)
    (learner,) = polled.users(course)
    polled.complete(course, learner)
    polled.poll()
    polled.moodle.unenrol(course.moodle_id, learner)
    polled.poll()
    polled.moodle.enrol(course.moodle_id, learner)
    assert polled.poll().new_completions == 0
    assert Completion.objects.count() == Learner.objects.count() == 1


def test_moodle_clock_that_goes_behind_loses_nothing(polled: Polled) -> None:
    course = polled.course(learners=1)
    polled.poll()
    MoodleSiteState.objects.update(clock_skew=timedelta(hours=-3))
    polled.complete(course, polled.users(course)[0], ago=timedelta(hours=50))
    assert polled.poll(timedelta(minutes=15)).new_completions == 1


def test_feeds_take_turns_without_a_second_completion(polled: Polled) -> None:
    course = polled.course(learners=2)
    first, second = polled.users(course)
    polled.complete(course, first, ago=timedelta(minutes=90, seconds=17))
    polled.poll()
    polled.without_report()
    polled.complete(course, second, ago=timedelta(seconds=17))
    assert polled.poll(DAY).new_completions == 1
    assert polled.site.state.feed == "B"
    seconds = polled.completion(course, second).completed_at
    polled.moodle.set_report(REPORT, shared=True)
    assert polled.poll(DAY).new_completions == 0
    assert polled.site.state.feed == "A"
    assert polled.completion(course, second).completed_at == seconds
    assert Completion.objects.count() == 2


def test_change_of_feed_begins_with_a_sweep(polled: Polled) -> None:
    course = polled.course(learners=1)
    (learner,) = polled.users(course)
    polled.moodle.enrol(course.moodle_id, learner, active=False)
    polled.without_report()
    polled.poll()
    # Feed B leaves a suspended enrolment alone, feed A shows it.
    polled.complete(course, learner, ago=60 * DAY)
    polled.moodle.set_report(REPORT, shared=True)
    polled.site.state.checked_at = None
    polled.site.save()
    assert polled.poll().new_completions == 1
    assert ENROLLED not in polled.called[-3:]


def test_course_names_are_updated_daily(polled: Polled) -> None:
    course = polled.course(learners=1)
    polled.poll()
    polled.moodle.set_course(course.moodle_id, fullname="Neuer <b>Name</b> & mehr")
    polled.poll()
    assert COURSES not in polled.called
    polled.poll(DAY)
    course.refresh_from_db()
    assert course.fullname == "Neuer Name & mehr"


def test_a_course_is_found_by_the_new_name_that_only_the_report_has(polled: Polled) -> None:
    course = polled.course(learners=2)
    first, second = polled.users(course)
    polled.complete(course, first)
    polled.poll()
    polled.moodle.set_course(course.moodle_id, fullname="Größe")
    state = polled.site.state
    state.functions = [name for name in state.functions if name != COURSES]
    state.save()
    polled.complete(course, second)
    polled.poll()
    course.refresh_from_db()
    assert (course.fullname, course.search_text) == ("Größe", plain_letters(f"Größe {course.shortname}"))


def test_score_is_read_once_for_new_completions_only(polled: Polled) -> None:
    course = polled.course(learners=1)
    (learner,) = polled.users(course)
    polled.complete(course, learner, grade=80)
    polled.poll()
    assert polled.completion(course, learner).score == 80
    polled.moodle.set_grade(course.moodle_id, learner, 20)
    polled.poll()
    assert MANY not in polled.called
    assert GRADES not in polled.called


def test_a_mapped_course_that_moves_to_another_category_is_followed(polled: Polled) -> None:
    course = polled.course(learners=1)
    polled.poll()
    assert (stored(course).category_id, stored(course).category_name) == (2, "Compliance & Safety")
    polled.moodle.set_course(course.moodle_id, category=polled.moodle.add_category("Health & <b>Care</b>"))
    polled.poll(after=timedelta(minutes=16))
    assert (stored(course).category_id, stored(course).category_name) == (3, "Health & Care")


def stored(course: Course) -> Course:
    return Course.objects.get(pk=course.pk)
