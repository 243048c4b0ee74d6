"""What disappears in Moodle: accounts, completions and courses; held with a reason, and sent if it comes back."""

from datetime import timedelta

import pytest
from django.utils import timezone

from badging import by_hand
from badging.meanings import Outcome
from badging.models import Issuance
from moodle_sync.models import Course, MoodleSite
from tests.builders import make_completion, make_course, make_issuance, make_site

from .college import DAY, HOUR, MINUTE, College

# Days pass in each of these, poll by poll.
pytestmark = pytest.mark.slow


def owed_while_navigatr_is_down(college: College) -> int:
    """A learner whose badge waits for two hours."""
    learner = college.learner()
    college.complete(learner)
    college.navigatr_is_down()
    college.poll_and_send()
    assert college.row(learner).state == "queued"
    for _ in range(2):
        college.poll(HOUR)
    return learner


def undone_without_a_poll(college: College, learner: int) -> None:
    """The completion is taken back, and nothing but time passes."""
    college.moodle.uncomplete(college.mapping.course.moodle_id, learner)
    college.clock.shift(2 * HOUR)


def test_nothing_is_sent_for_an_account_that_was_deleted_meanwhile(any_college: College) -> None:
    learner = owed_while_navigatr_is_down(any_college)
    any_college.moodle.delete_user(learner, cleaned_up=True)
    any_college.clock.shift(2 * HOUR)
    any_college.navigatr_is_back()
    any_college.send()
    row = any_college.row(learner)
    assert (row.state, row.reason) == ("held", Outcome.LEARNER_DELETED)
    assert any_college.badges() == []


@pytest.mark.parametrize("version", ["4.5", "5.0"])
@pytest.mark.parametrize("cleaned_up", [True, False])
def test_a_deleted_account_is_noticed_at_the_full_reading(college: College, version: str, cleaned_up: bool) -> None:
    college.moodle.set_site(version=version)
    learner, other = college.learner(), college.learner(email="other@example.org")
    for one in (learner, other):
        college.complete(one)
    college.sandbox.faults.on("403")
    college.poll_and_send()
    college.moodle.delete_user(learner, cleaned_up=cleaned_up)
    college.poll(DAY)
    college.poll()
    assert college.person(learner).deleted
    assert not college.person(other).deleted
    assert [college.completion(one).undone_at for one in (learner, other)] == [None, None]


def test_nothing_is_sent_for_a_completion_that_was_undone_meanwhile(any_college: College) -> None:
    learner = owed_while_navigatr_is_down(any_college)
    undone_without_a_poll(any_college, learner)
    any_college.navigatr_is_back()
    any_college.send()
    row = any_college.row(learner)
    assert (row.state, row.reason) == ("held", Outcome.COMPLETION_UNDONE)
    assert any_college.badges() == []
    # Completed once more, it goes on by itself.
    any_college.complete(learner)
    for _ in range(2):
        any_college.poll_and_send()
    assert len(any_college.badges()) == 1


def test_a_completion_that_is_undone_is_noticed_although_polls_go_on(any_college: College) -> None:
    learner = owed_while_navigatr_is_down(any_college)
    any_college.moodle.uncomplete(any_college.mapping.course.moodle_id, learner)
    for _ in range(8):
        any_college.poll(timedelta(minutes=15))
    any_college.navigatr_is_back()
    any_college.send()
    assert any_college.badges() == []
    assert any_college.row(learner).reason == Outcome.COMPLETION_UNDONE


@pytest.mark.postgres
def test_completions_of_several_sites_are_confirmed_although_one_cannot_be_asked(any_college: College) -> None:
    dead = make_site(url="http://127.0.0.1:9", functions=["core_completion_get_course_completion_status"])
    course = make_course(dead)
    waits = make_completion(course, confirmed_at=timezone.now())
    make_issuance(any_college.map(course), waits)
    learner = owed_while_navigatr_is_down(any_college)
    any_college.clock.shift(2 * HOUR)
    any_college.navigatr_is_back()
    any_college.send()
    assert any_college.row(learner).state == "issued"
    assert Issuance.objects.get(completion=waits).reason == Outcome.AWAITS_MOODLE


def test_who_left_the_course_after_completing_is_owed_the_badge(any_college: College) -> None:
    learner = owed_while_navigatr_is_down(any_college)
    any_college.moodle.unenrol(any_college.mapping.course.moodle_id, learner)
    any_college.poll(DAY)
    any_college.navigatr_is_back()
    any_college.send()
    assert len(any_college.badges()) == 1


def test_a_name_that_changed_meanwhile_is_the_one_that_is_sent(any_college: College) -> None:
    learner = owed_while_navigatr_is_down(any_college)
    any_college.moodle.set_name(learner, "Ana", "Newname")
    any_college.clock.shift(2 * HOUR)
    any_college.navigatr_is_back()
    any_college.send()
    assert [badge.recipient_lastname for badge in any_college.badges()] == ["Newname"]


def test_what_has_waited_waits_on_while_moodle_cannot_be_asked(any_college: College) -> None:
    learner = owed_while_navigatr_is_down(any_college)
    any_college.clock.shift(2 * HOUR)
    any_college.navigatr_is_back()
    any_college.sandbox.faults.on("down", side="moodle")
    any_college.send()
    row = any_college.row(learner)
    assert (row.state, row.reason) == ("queued", Outcome.AWAITS_MOODLE)
    assert any_college.badges() == []
    any_college.sandbox.faults.clear()
    any_college.clock.shift(5 * MINUTE)
    any_college.send()
    assert len(any_college.badges()) == 1


def test_a_person_may_send_what_moodle_cannot_confirm(any_college: College) -> None:
    learner = owed_while_navigatr_is_down(any_college)
    any_college.clock.shift(2 * HOUR)
    any_college.navigatr_is_back()
    MoodleSite.objects.update(token="")
    any_college.sandbox.faults.on("down", side="moodle")
    any_college.send()
    assert any_college.row(learner).reason == Outcome.AWAITS_MOODLE
    by_hand.send_again(Issuance.objects.all(), now=timezone.now())
    any_college.send()
    assert len(any_college.badges()) == 1


def test_a_suspended_account_is_sent_to_by_default(any_college: College) -> None:
    learner = any_college.learner()
    any_college.complete(learner)
    any_college.moodle.suspend(learner)
    any_college.poll_and_send()
    assert len(any_college.badges()) == 1


def test_a_site_that_holds_suspended_accounts_asks_right_before_sending(any_college: College) -> None:
    MoodleSite.objects.update(send_suspended=False)
    learner = any_college.learner()
    any_college.complete(learner)
    any_college.poll()
    any_college.moodle.suspend(learner)
    any_college.clock.shift(3 * MINUTE)
    any_college.send()
    row = any_college.row(learner)
    assert (row.state, row.reason) == ("held", Outcome.LEARNER_SUSPENDED)
    any_college.moodle.suspend(learner, suspended=False)
    any_college.poll_and_send()
    assert len(any_college.badges()) == 1


def test_a_site_that_no_longer_holds_suspended_accounts_lets_go_at_the_next_poll(any_college: College) -> None:
    MoodleSite.objects.update(send_suspended=False)
    learner = any_college.learner()
    any_college.complete(learner)
    any_college.moodle.suspend(learner)
    any_college.poll_and_send()
    assert any_college.row(learner).reason == Outcome.LEARNER_SUSPENDED
    MoodleSite.objects.update(send_suspended=True)
    any_college.poll_and_send()
    assert len(any_college.badges()) == 1


def test_a_score_that_comes_after_the_completion_goes_on_within_two_polls(any_college: College) -> None:
    any_college.mapping.min_score = 60
    any_college.mapping.save()
    learner = any_college.learner()
    any_college.complete(learner)
    any_college.poll_and_send()
    assert any_college.row(learner).reason == Outcome.NO_SCORE
    for _ in range(3):
        any_college.poll_and_send(DAY)
    any_college.moodle.set_grade(any_college.mapping.course.moodle_id, learner, 75)
    for _ in range(2):
        any_college.poll_and_send()
    assert [badge.score for badge in any_college.badges()] == [75]


def test_a_mapped_course_that_is_deleted_is_noted_and_nothing_of_it_is_sent(any_college: College) -> None:
    learner = owed_while_navigatr_is_down(any_college)
    course = any_college.mapping.course
    any_college.moodle.delete_course(course.moodle_id)
    successor = any_college.moodle.add_course("SAFE101", "Safeguarding Essentials")
    result = any_college.poll(timedelta(minutes=15))
    assert any("was deleted in Moodle" in problem for problem in result.problems)
    course.refresh_from_db()
    assert course.gone_at == timezone.now()
    assert Course.objects.filter(moodle_id=successor).exists()
    any_college.navigatr_is_back()
    any_college.send()
    assert any_college.badges() == []
    assert any_college.row(learner).reason == Outcome.COURSE_GONE


def test_a_hidden_course_is_not_taken_for_a_deleted_one(any_college: College) -> None:
    course = any_college.mapping.course
    any_college.moodle.set_course(course.moodle_id, visible=0)
    any_college.sandbox.faults.on("no_hidden_courses", side="moodle")
    any_college.poll(timedelta(minutes=15))
    course.refresh_from_db()
    assert course.gone_at is None


def test_a_renamed_course_has_its_new_name_when_somebody_completes_it(any_college: College) -> None:
    learner = any_college.learner()
    any_college.moodle.set_course(any_college.mapping.course.moodle_id, fullname="Safeguarding 2027 & more")
    any_college.complete(learner)
    any_college.poll_and_send()
    any_college.mapping.course.refresh_from_db()
    assert any_college.mapping.course.fullname == "Safeguarding 2027 & more"
    assert [badge.evidence_text for badge in any_college.badges()] == [
        "Recipient completed course Safeguarding 2027 & more"
    ]


def test_a_renamed_course_has_its_new_name_within_a_quarter_of_an_hour(any_college: College) -> None:
    any_college.moodle.set_course(any_college.mapping.course.moodle_id, fullname="Safeguarding 2027")
    any_college.poll(timedelta(minutes=15))
    any_college.mapping.course.refresh_from_db()
    assert any_college.mapping.course.fullname == "Safeguarding 2027"


@pytest.mark.parametrize("filtered", [True, False])
def test_evidence_and_pages_show_one_language_of_a_course_name(any_college: College, filtered: bool) -> None:
    any_college.moodle.set_site(filter_headings=filtered)
    name = (
        '<span lang="en" class="multilang">Food hygiene &amp; care</span>'
        '<span lang="cy" class="multilang">Hylendid bwyd</span>'
    )
    any_college.moodle.set_course(any_college.mapping.course.moodle_id, fullname=name)
    learner = any_college.learner()
    any_college.complete(learner)
    for _ in range(2):
        any_college.poll_and_send()
    assert [badge.evidence_text for badge in any_college.badges()] == ["Recipient completed course Food hygiene & care"]
    any_college.poll()
    assert "courses_by_field" not in " ".join(any_college.calls)


def test_short_pages_are_not_the_end_of_a_list(any_college: College) -> None:
    learners = [any_college.learner(email=f"learner{number}@example.org") for number in range(7)]
    any_college.sandbox.faults.on("short_pages", side="moodle")
    for learner in learners:
        any_college.complete(learner)
    result = any_college.poll_and_send()
    assert result.error == ""
    assert len(any_college.badges()) == 7
