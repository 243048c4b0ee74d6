"""Who is who: a person is (site, Moodle user id) only as long as the site is the same Moodle."""

import pytest
from django.utils import timezone

from badging import sites
from badging.models import AuditEntry, Issuance
from moodle_sync.models import Learner, MoodleSite
from sandbox import Sandbox

from .college import DAY, College


def with_people(college: College, number: int = 6) -> list[int]:
    """A college whose learners have their badges."""
    learners = [college.learner(f"First{n}", f"Last{n}", f"person{n}@example.org") for n in range(number)]
    for learner in learners:
        college.complete(learner)
    college.poll_and_send()
    assert len(college.badges()) == number
    return learners


def people() -> list[tuple[int, str, str, str]]:
    return list(Learner.objects.order_by("pk").values_list("moodle_id", "firstname", "lastname", "email"))


@pytest.mark.parametrize("rebuilt", ["same", "new"])
def test_a_moodle_that_was_rebuilt_stops_the_site_and_overwrites_nobody(any_college: College, rebuilt: str) -> None:
    with_people(any_college)
    before = people()
    any_college.moodle.rebuild(people=rebuilt)
    for _ in range(2):
        any_college.poll_and_send(DAY)
    assert "still the same Moodle" in any_college.site.state.doubt
    assert people() == before
    assert len(any_college.badges()) == 6
    # Until an admin has answered, polls read nothing.
    result = any_college.poll()
    assert result.busy
    assert any_college.calls == []
    assert "still the same Moodle" in result.error


def test_another_moodle_at_the_same_address_is_connected_as_a_new_site(any_college: College) -> None:
    with_people(any_college)
    any_college.moodle.rebuild(people="same")
    for _ in range(2):
        any_college.poll_and_send(DAY)
    before, old = people(), any_college.site
    new = MoodleSite(name="The new one", url=old.url, token=old.token)
    assert sites.save_when_readable(new, actor=None, now=timezone.now()).saved
    assert people() == before
    # The old one is not read any more: its people would be known twice.
    with pytest.raises(sites.ConnectedAgain, match="The new one"):
        sites.confirm_same(old, actor=None, now=timezone.now())
    assert not sites.save_when_readable(old, actor=None, now=timezone.now(), same_moodle=True).saved
    assert MoodleSite.objects.get(pk=old.pk).state.doubt


def test_nothing_is_sent_while_the_question_is_open(any_college: College) -> None:
    learners = with_people(any_college)
    waits = any_college.learner(email="waits@example.org")
    any_college.complete(waits)
    any_college.poll()
    for number, learner in enumerate(learners):
        any_college.moodle.set_user(
            learner, firstname=f"Other{number}", lastname=f"Person{number}", email=f"other{number}@example.org"
        )
    any_college.poll_and_send(DAY)
    assert any_college.site.state.doubt
    assert any_college.row(waits).state == "queued"
    any_college.send()
    assert any_college.badges("waits@example.org") == []
    # The same Moodle after all: all of them got new addresses and married.
    sites.confirm_same(any_college.site, actor=None, now=timezone.now())
    any_college.poll_and_send()
    assert any_college.site.state.doubt == ""
    assert any_college.person(learners[0]).lastname == "Person0"
    assert len(any_college.badges("waits@example.org")) == 1
    assert AuditEntry.objects.filter(action="site_confirmed").exists()


def test_a_few_people_with_new_names_and_addresses_are_no_other_moodle(any_college: College) -> None:
    learners = with_people(any_college)
    for learner in learners[:2]:
        any_college.moodle.set_user(learner, firstname="Ana", lastname="Newname", email=f"new{learner}@example.org")
    for learner in learners[2:]:
        any_college.moodle.set_user(learner, email=f"moved{learner}@example.org")
    assert any_college.poll(DAY).error == ""
    assert any_college.person(learners[0]).lastname == "Newname"


def test_courses_that_change_their_names_together_stop_the_site(any_college: College) -> None:
    second = any_college.course("FIRE", "Fire Safety")
    any_college.map(second)
    any_college.poll(DAY)
    for number, course in enumerate([any_college.mapping.course, second]):
        any_college.moodle.set_course(course.moodle_id, shortname=f"X{number}", fullname=f"Cooking {number}")
    any_college.poll(DAY)
    assert "Cooking 0" in any_college.site.state.doubt
    second.refresh_from_db()
    assert second.fullname == "Fire Safety"


def test_an_address_that_moodle_changes_stops_the_site(any_college: College) -> None:
    with_people(any_college)
    any_college.moodle.distort("core_webservice_get_site_info", "siteurl", "https://learn.example.org")
    any_college.poll(DAY)
    assert "learn.example.org" in any_college.site.state.doubt


def test_a_new_address_with_a_token_is_saved_and_asked_about(any_college: College) -> None:
    learners = with_people(any_college)
    with Sandbox(clock=lambda: timezone.now().timestamp()) as other:
        moved = MoodleSite.objects.get()
        moved.url, moved.token = other.moodle_url, other.moodle_token
        check = sites.save_when_readable(moved, actor=None, now=timezone.now())
        assert check.saved
        assert any("still the same Moodle" in str(finding["values"]) for finding in check.findings)
        assert any_college.poll().busy
        assert any_college.person(learners[0]).firstname == "First0"
        sites.save_when_readable(moved, actor=None, now=timezone.now(), same_moodle=True)
        assert not any_college.poll().busy


def test_a_confirmation_counts_once(any_college: College) -> None:
    with_people(any_college)
    sites.confirm_same(any_college.site, actor=None, now=timezone.now())
    for _ in range(2):
        any_college.poll_and_send(DAY)
    # Long after, the feed changes as well.
    any_college.moodle.set_report(2, shared=any_college.site.state.feed == "B")
    any_college.moodle.rebuild(people="same")
    before = people()
    for _ in range(2):
        any_college.poll_and_send(DAY)
    assert any_college.site.state.doubt
    assert people() == before


def test_a_rebuilt_moodle_whose_people_come_one_by_one_is_noticed(college: College) -> None:
    learners = with_people(college, 4)
    for number, learner in enumerate(learners):
        college.moodle.set_user(
            learner, firstname=f"Other{number}", lastname=f"Person{number}", email=f"other{number}@example.org"
        )
        college.moodle.uncomplete(college.mapping.course.moodle_id, learner)
        college.complete(learner)
        college.poll_and_send()
    assert college.site.state.doubt


def test_the_only_mapped_course_that_becomes_another_one_stops_the_site(any_college: College) -> None:
    with_people(any_college)
    any_college.moodle.rebuild(people="new")
    any_college.poll_and_send(DAY)
    assert any_college.site.state.doubt


def test_a_new_token_of_another_moodle_at_the_same_address_is_asked_about(any_college: College) -> None:
    with_people(any_college)
    names = any_college.mapping.course.full_label
    any_college.moodle.rebuild(people="new")
    any_college.moodle.set_course(any_college.mapping.course.moodle_id, shortname="WELD", fullname="Welding")
    any_college.moodle.token = "new-token"
    site = MoodleSite.objects.get()
    site.token = "new-token"
    check = sites.save_when_readable(site, actor=None, now=timezone.now())
    assert check.saved
    assert MoodleSite.objects.get().state.doubt
    any_college.mapping.course.refresh_from_db()
    assert any_college.mapping.course.full_label == names


@pytest.mark.postgres
def test_what_waits_is_not_sent_to_somebody_else_when_moodle_is_asked_again(any_college: College) -> None:
    learner = any_college.learner()
    any_college.complete(learner)
    any_college.navigatr_is_down()
    any_college.poll_and_send()
    any_college.moodle.set_user(learner, firstname="Other", lastname="Person", email="other@example.org")
    any_college.clock.shift(7200)
    any_college.navigatr_is_back()
    any_college.send()
    assert any_college.badges() == []
    assert any_college.row(learner).reason == "awaits_moodle"
    # It was the same person, married: the next full reading accepts one of many.
    any_college.poll_and_send(DAY)
    any_college.clock.shift(600)
    any_college.send()
    assert [badge.recipient_lastname for badge in any_college.badges()] == ["Person"]


def test_a_first_connection_is_never_asked_about(any_college: College) -> None:
    moved = MoodleSite.objects.get()
    assert sites.save_when_readable(moved, actor=None, now=timezone.now()).saved
    assert MoodleSite.objects.get().state.doubt == ""
    assert not Issuance.objects.exists()
