"""The history of connections, sites and mappings: who changed what, what makes no version, and never a secret."""

import ast
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from badging import connections
from badging import mapping as mappings
from badging.connections import ConnectionTest
from badging.history import Change, award_as_of, history_of, last_removal
from badging.models import CourseBadgeMapping, NavigatrConnection
from badging.pages.course_badge import what_changed
from badging.queueing import set_past_release
from moodle_sync import history
from moodle_sync.history import VERSIONS, versions_of
from moodle_sync.models import Course, MoodleSite
from navigatr_client import Provider
from tests.badging.test_mapping import change
from tests.builders import BADGE, NOW, OTHER_BADGE, make_connection, make_course, make_mapping, make_site
from tests.test_house import modules

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(hours=1)
PASSED = ConnectionTest(True, "fine", "Nadia Iqbal", [Provider(11, "Northgate College")], [])


@pytest.fixture
def ann() -> User:
    return User.objects.create_superuser("ann")


def told(changes: list[Change]) -> list[str]:
    return [str(sentence).replace("<em>", "*").replace("</em>", "*") for row in changes for sentence in row.sentences]


def test_a_changed_mapping_tells_who_changed_what_and_can_be_read_as_it_was(ann: User) -> None:
    mapping = make_mapping(badge_id=BADGE, min_score=60)
    change(mapping, min_score=70, actor=ann)
    [latest, first] = history_of(mapping)
    assert (latest.at, latest.who) == (LATER, "ann")
    sentences = told([latest])
    assert "ann changed *minimum score in percent* from 60 to 70." in sentences
    assert f"ann changed *badge* from Safeguarding ({BADGE}) to Other ({OTHER_BADGE})." in sentences
    assert str(first.sentences[0]).startswith("The portal added this course badge mapping, with connection: ")
    as_it_was = [award_as_of(mapping.course_id, at) for at in (NOW - timedelta(1), NOW, LATER)]
    assert [row and (row.badge_id, row.badge_name, row.min_score, row.changed_by) for row in as_it_was] == [
        None,
        (BADGE, "Safeguarding", 60, ""),
        (OTHER_BADGE, "Other", 70, "ann"),
    ]


def test_a_removed_mapping_awarded_something_until_then(ann: User) -> None:
    mapping = make_mapping(badge_id=BADGE)
    course = mapping.course_id
    mappings.remove_mapping(mapping, actor=ann)
    before = award_as_of(course, timezone.now() - timedelta(minutes=1))
    assert before is not None
    assert before.environment == "staging"
    assert award_as_of(course, timezone.now()) is None
    again = make_mapping(mapping.course)
    assert "ann removed this course badge mapping." in told(history_of(again))


def test_who_removed_a_badge_is_told_of_this_course_and_not_of_a_namesake(ann: User) -> None:
    bob = User.objects.create_user("bob")
    mapping = make_mapping()
    namesake = make_mapping(make_course(mapping.course.site, shortname=mapping.course.shortname))
    Course.objects.update(fullname="First Aid")
    assert last_removal(mapping.course_id) is None
    mappings.remove_mapping(mapping, actor=ann)
    mappings.remove_mapping(namesake, actor=bob)
    assert what_changed(mapping.course, None, bob) == "ann has removed the badge of this course meanwhile."
    ann.delete()
    assert what_changed(mapping.course, None, bob) == "ann has removed the badge of this course meanwhile."


def test_switching_is_told_and_what_the_engine_notes_makes_no_version(ann: User) -> None:
    mapping = make_mapping()
    mappings.disable_mapping(mapping, actor=ann)
    mappings.enable_mapping(mapping, actor=ann, now=timezone.now())
    assert told(history_of(mapping))[:2] == [
        "ann changed *active* from no to yes.",
        "ann changed *active* from yes to no.",
    ]
    count = versions_of(CourseBadgeMapping).count()
    mapping.badge_problem, mapping.badge_name = "unpublished", "New name"
    mapping.save()
    set_past_release(mapping, CourseBadgeMapping._meta.get_field("past_release").default)
    mappings.note_badge(mapping, now=NOW)
    assert versions_of(CourseBadgeMapping).count() == count


def test_a_connection_tells_its_changes_and_never_its_token(ann: User) -> None:
    connection = make_connection(name="College", pat="pat-one-1111")
    connection.pat = "pat-two-2222"
    connections.save_tested(connection, PASSED, actor=ann, now=LATER)
    # The same token again is no change.
    connections.save_tested(connection, PASSED, actor=ann, now=LATER)
    connections.retest(NavigatrConnection.objects.get(), actor=ann, now=LATER)
    mapping = make_mapping(connection=connection)
    connections.pause(NavigatrConnection.objects.get(), asked_at=LATER + timedelta(days=9999), now=LATER)
    connections.remove(connection, actor=ann, now=LATER)
    connection.pat = "pat-two-3333"
    connections.save_tested(connection, PASSED, actor=ann, now=LATER, enable_mappings=False)
    assert told(history_of(connection))[:-1] == [
        "ann changed *state* from Removed: no token to Active.",
        "ann entered another *token*.",
        "ann changed *state* from Paused to Removed: no token.",
        "The portal changed *state* from Active to Paused.",
        "ann entered another *token*.",
    ]
    assert told(history_of(mapping))[0] == "ann changed *active* from yes to no."
    kept = str([list(versions_of(model).values()) for model in VERSIONS])
    assert [word for word in ("pat-", "1111", "2222", "3333", "moodle-token", "Nadia") if word in kept] == []


def test_a_resumed_connection_is_told(ann: User) -> None:
    connection = make_connection(pat="pat-wrong", state="paused")
    NavigatrConnection.objects.filter(pk=connection.pk).update(state="active")
    history.note(connection, ann, at=LATER)
    assert told(history_of(connection))[0] == "ann changed *state* from Paused to Active."


def test_the_user_of_the_request_is_who_changed_it(ann: User, client: Client) -> None:
    site = make_site(name="North")
    client.force_login(ann)
    page = f"/admin/moodle_sync/moodlesite/{site.pk}/change/"
    form = client.get(page).context["adminform"].form
    values = {name: form[name].value() or "" for name in form.fields} | {"name": "South", "send_suspended": ""}
    assert client.post(page, values).status_code == 302
    [latest, _first] = history_of(site)
    assert latest.who == "ann"
    assert told([latest])[0] == "ann changed *name* from North to South."
    ann.delete()
    # The name of that time stays when the account is gone.
    assert history_of(site)[0].who == "ann"
    assert versions_of(MoodleSite).filter(history_user=None).count() == 2


def test_a_partly_saved_row_is_kept_as_it_stands_in_the_database() -> None:
    site = make_site(name="North")
    site.name, site.enabled = "typed and not saved", False
    site.save(update_fields=["enabled"])
    assert versions_of(MoodleSite).latest().name == "North"


def test_the_history_of_a_row_stored_without_a_version_begins_with_its_first_save() -> None:
    [site] = MoodleSite.objects.bulk_create([MoodleSite(name="North", url="https://moodle.example")])
    site.save()
    site.name = "South"
    site.save()
    [change, beginning] = history_of(site)
    assert told([change]) == ["The portal changed *name* from North to South."]
    assert told([beginning]) == ["The history of this Moodle site begins here."]


def test_no_query_changes_settings_past_the_history() -> None:
    """What people set is saved row by row, or noted with `history.note`: an UPDATE writes no version."""
    settings = {name for records in VERSIONS.values() for name in records.settings}
    # Columns of the same name in tables that keep no versions: issuances, and the states of sites.
    settings -= {"state", "name", "url", "course", "connection", "environment", "provider_id", "badge_id"}
    found = {
        f"{path}:{node.lineno}"
        for path, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "update"
        if settings & {keyword.arg for keyword in node.keywords} and not path.startswith("benchmarks/")
    }
    assert found == set()
