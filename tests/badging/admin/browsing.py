"""What the tests of the admin share: signing in, addresses, buttons, and what a page says."""

from typing import Any

from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from badging.meanings import Outcome
from badging.models import AuditEntry, CourseBadgeMapping, CourseManager, Issuance, IssuanceAttempt
from moodle_sync.models import Completion, Learner
from tests.builders import NOW, make_attempt, make_issuance, make_mapping

State = Issuance.State

MODELS = [
    "badging_navigatrconnection",
    "badging_connectiongrant",
    "badging_coursebadgemapping",
    "badging_coursemanager",
    "badging_issuance",
    "badging_issuanceattempt",
    "badging_auditentry",
    "moodle_sync_moodlesite",
    "moodle_sync_course",
    "moodle_sync_learner",
    "moodle_sync_completion",
]
WRITTEN = ("connection", "connectiongrant", "coursemanager", "moodlesite")
READ_ONLY = [name for name in MODELS if not name.endswith(WRITTEN)]


def signed_in(group: str, name: str = "person") -> Client:
    """A browser with a new user of the group signed in."""
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def one_of_each() -> dict[str, int]:
    """A row of every model, all of them belonging together; returns their ids by the name of their pages."""
    issuance = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    manager = User.objects.create_user("manager")
    return {
        "badging_navigatrconnection": issuance.connection_id,
        "badging_connectiongrant": issuance.connection.grants.get().pk,
        "badging_coursebadgemapping": issuance.course.mapping.pk,
        "badging_coursemanager": CourseManager.objects.create(user=manager, course=issuance.course).pk,
        "badging_issuance": issuance.pk,
        "badging_issuanceattempt": make_attempt(issuance).pk,
        "badging_auditentry": AuditEntry.objects.create(action="site_saved", subject="Moodle").pk,
        "moodle_sync_moodlesite": issuance.course.site_id,
        "moodle_sync_course": issuance.course_id,
        "moodle_sync_learner": issuance.learner_id,
        "moodle_sync_completion": issuance.completion_id,
    }


def listed(name: str, **query: Any) -> str:
    return reverse(f"admin:{name}_changelist", query=query or None)


def search(client: Client, name: str, words: str, **filters: Any) -> Any:
    """The list after a search for these words."""
    return client.post(listed(name), {"_search": "1", "q": words, **filters}, follow=True)


def page_of(name: str, pk: int) -> str:
    return reverse(f"admin:{name}_change", args=[pk])


def run(client: Client, name: str, action: str, *pks: int, **more: str) -> Any:
    """Press an action's button, following where it leads."""
    data = {"action": action, "_selected_action": [str(pk) for pk in pks], **more}
    return client.post(listed(name), data, follow=True)


def confirm(client: Client, name: str, action: str, *pks: int) -> Any:
    return run(client, name, action, *pks, confirmed="yes")


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request)) + response.content.decode()


def rows_shown(response: Any) -> list[int]:
    return [row.pk for row in response.context["cl"].result_list]


def many_issuances(number: int) -> CourseBadgeMapping:
    """That many learners with a completion, a failed issuance and an attempt each, of one course."""
    mapping = make_mapping()
    site = mapping.course.site
    learners = Learner.objects.bulk_create(
        Learner(
            site=site,
            moodle_id=1000 + n,
            firstname="Ana",
            lastname=f"L{n}",
            email=f"l{n}@x.org",
            email_key=f"l{n}@x.org",
        )
        for n in range(number)
    )
    completions = Completion.objects.bulk_create(
        Completion(
            course=mapping.course,
            learner=learner,
            completed_at=NOW,
            time_source="report",
            seen_at=NOW,
            confirmed_at=NOW,
        )
        for learner in learners
    )
    issuances = Issuance.objects.bulk_create(
        Issuance(
            course=mapping.course, learner=row.learner, completion=row, connection=mapping.connection,
            environment="staging", provider_id=11, badge_id=111, badge_name="Safeguarding", state=State.FAILED,
            reason=Outcome.FORBIDDEN, queued_at=NOW,
        )
        for row in completions
    )  # fmt: skip
    IssuanceAttempt.objects.bulk_create(
        IssuanceAttempt(
            issuance=row, kind="send", at=NOW, outcome=Outcome.FORBIDDEN, environment="staging", provider_id=11,
            badge_id=111,
        )
        for row in issuances
    )  # fmt: skip
    AuditEntry.objects.bulk_create(AuditEntry(action="cancelled", subject=str(n)) for n in range(number))
    return mapping


def entered(token: str, **fields: Any) -> dict[str, Any]:
    settings = {"timeout": "30", "send_score": "on", "past_limit": "200"}
    return {"name": "Main", "environment": "staging", "new_token": token, **settings} | fields
