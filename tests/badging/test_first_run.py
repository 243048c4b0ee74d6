from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from badging import first_run
from badging.first_run import Key, Progress, Step
from badging.models import CourseBadgeMapping, Issuance, NavigatrConnection
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
from moodle_sync.models import Course, MoodleSiteState
from tests.builders import NOW, let_everything_run, make_connection, make_course, make_issuance, make_mapping, make_site

pytestmark = pytest.mark.django_db
DONE, TODO, WRONG = Progress.DONE, Progress.TODO, Progress.WRONG


@pytest.fixture(autouse=True)
def _all_runs() -> None:
    let_everything_run(NOW)


def site_in_order(**fields: Any) -> Any:
    polled = {"feed": "A", "last_poll_at": NOW, "next_poll_at": NOW + timedelta(seconds=40)}
    return make_site(name="Hub", **polled | fields)


def step(key: Key) -> Step:
    return next(found for found in first_run.steps(NOW) if found.key == key)


def progress() -> list[Progress]:
    return [found.progress for found in first_run.steps(NOW)]


def test_each_step_is_found_done_from_what_is_there(django_assert_max_num_queries: Any) -> None:
    assert progress() == [TODO] * 5
    assert [found.waits for found in first_run.steps(NOW)] == [False, False, True, True, True]
    tested = {"tested_at": NOW, "test_ok": True, "providers": [[11, "Northgate College"]], "account": "Pat Lee"}
    connection = make_connection(name="Northgate", open_to_all=False, **tested)
    assert progress() == [DONE, TODO, TODO, TODO, TODO]
    assert "as Pat Lee, and issues for 1 provider." in step(Key.NAVIGATR).text
    site = site_in_order()
    assert progress()[:2] == [DONE, DONE]
    course = make_course(site, fullname="First Aid")
    mapping = make_mapping(course, connection, by_admin=True)
    # Site admins need nothing opened to them.
    assert progress() == [DONE, DONE, DONE, DONE, TODO]
    assert not first_run.is_done()
    make_issuance(mapping, state=Issuance.State.ISSUED, assertion_id="911", issued_at=NOW)
    with django_assert_max_num_queries(12):
        assert progress() == [DONE] * 5
    with django_assert_max_num_queries(1):
        assert first_run.is_done()
    assert first_run.next_step(first_run.steps(NOW)) is None


def test_what_is_wrong_is_said_with_what_to_do() -> None:
    connection = make_connection(tested_at=NOW, test_ok=True, test_message="Is no provider administrator.")
    assert (step(Key.NAVIGATR).progress, step(Key.NAVIGATR).about) == (WRONG, connection)
    assert "no provider administrator" in step(Key.NAVIGATR).text
    NavigatrConnection.objects.update(providers=[[11, "Northgate"]], state=NavigatrConnection.State.PAUSED)
    assert "Reconnect it, with a new token" in step(Key.NAVIGATR).text
    NavigatrConnection.objects.update(state=NavigatrConnection.State.ACTIVE)

    site = site_in_order(doubt="Is it still the same?")
    assert (step(Key.MOODLE).progress, step(Key.MOODLE).about) == (WRONG, site)
    off = {"check": "completion", "ok": False, "message": "Completion tracking is switched off.", "values": {}}
    MoodleSiteState.objects.update(doubt="", findings=[off])
    assert step(Key.MOODLE).text == "Hub: Completion tracking is switched off."
    lacking = {"check": "courses", "ok": False, "message": "The account sees no course at all.", "values": {}}
    MoodleSiteState.objects.update(findings=[lacking])
    assert step(Key.MOODLE).progress == DONE
    assert "sees no course at all" in step(Key.MAPPING).text

    mapping = make_mapping(make_course(site, completion_enabled=False), connection)
    assert "Completion tracking is switched off in this course" in step(Key.MAPPING).text
    Course.objects.update(completion_enabled=True)
    CourseBadgeMapping.objects.update(active=False)
    assert (step(Key.MAPPING).progress, step(Key.MAPPING).about) == (WRONG, mapping.course)
    assert "mapping is disabled" in step(Key.MAPPING).text


def test_site_admins_set_the_portal_up_and_nobody_else() -> None:
    for name, may in ((SITE_ADMINS, True), (DATA_PROTECTION_OFFICERS, False)):
        user = User.objects.create_user(name, is_staff=True)
        user.groups.add(Group.objects.get(name=name))
        assert first_run.may_set_up(user) == may
