"""The rows that the table's addresses are asked about, and what is posted to them.

What is posted is valid, so that a person who may do a thing does it: the table then shows that the rows change for
them, and for nobody else.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.utils import timezone

from badging import bulk
from badging.mapping import version_of
from badging.meanings import Outcome
from badging.models import AuditEntry, BulkRun, CourseManager, Issuance, ScheduledTask
from badging.pictures import picture_path
from moodle_sync.models import Course
from people.models import SignInLock
from sandbox import Sandbox
from tests import builders

from .addresses import VALUE, Asked
from .people import browsers

State = Issuance.State
PASSWORD = "Quiet-harbour-27-lamps"


class CannotAsk(Exception):
    """An address needs a row or a value that nobody has named; the message says where to name it."""


@dataclass(frozen=True)
class World:
    """The browsers of the roles, and the rows: one of each model by its `app.model`."""

    clients: dict[str, Client]
    rows: dict[str, Any]
    sandbox: Sandbox

    def row_of(self, address: str) -> Any:
        """The row of the model that an address of the admin is about. Raises CannotAsk if there is none."""
        label = ".".join(address.removeprefix("admin/").split("/")[:2])
        if label not in self.rows:
            raise CannotAsk(f"Make a row of {label} in make_world, tests/access/world.py.")
        return self.rows[label]

    def value(self, name: str, address: str) -> Any:
        """What stands for a value of an address: the row that `manager` manages. Add new names here.

        Raises CannotAsk for a name that is not known.
        """
        if address.startswith("admin/going-live/"):
            return self.rows["badging.navigatrconnection"].pk
        if name == "object_id" and not address.startswith("admin/r/"):
            return self.row_of(address).pk
        if address.startswith("admin/moodle-guide/"):
            return self.rows["moodle_sync.moodlesite"].pk
        course = self.rows["moodle_sync.course"]
        values = {
            "pk": course.pk,
            "issuance_pk": self.rows["badging.issuance"].pk,
            "mapping_pk": self.rows["badging.coursebadgemapping"].pk,
            "content_type_id": ContentType.objects.get_for_model(Course).pk,
            "object_id": course.pk,
            "id": self.rows["auth.user"].pk,
            "url": "no/such/page/",
            "signed": picture_path(f"{self.sandbox.url}/navigatr/images/{builders.BADGE}.svg").split("/")[2],
            "provider_id": "oidc",
            # No link of anybody: who has one is tested in tests/people.
            "uidb36": "1",
            "key": "none",
        }
        if name not in values:
            raise CannotAsk(f"Say what <{name}> stands for in World.value, tests/access/world.py.")
        return values[name]

    def path(self, address: str) -> str:
        """The path to ask for. Raises CannotAsk as `value` does."""
        path = address.partition("?")[0]
        return "/" + VALUE.sub(lambda found: str(self.value(found[1], address)), path)

    def query(self, address: str) -> dict[str, Any]:
        """The query string of an address that needs one to show anything."""
        connection = self.rows["badging.navigatrconnection"].pk
        chosen = {"connection": connection, "provider": builders.PROVIDER}
        if address.endswith("badge/choose/"):
            return chosen
        if address.startswith("admin/verification/"):
            return {"course": self.rows["moodle_sync.course"].pk, "after": 0}
        if address.endswith("badge/review/"):
            return chosen | {"badge": builders.BADGE}
        return {}

    def posted(self, asked: Asked) -> dict[str, Any]:
        """What is posted: confirmed actions, confirmed deletions, the form of a page as a superuser would save it."""
        address, (_post, _colon, action) = asked.address, asked.method.partition(":")
        if action:
            chosen = [str(self.row_of(address).pk)]
            return {"action": action, ACTION_CHECKBOX_NAME: chosen, "confirmed": "yes", "post": "yes"}
        if address.endswith("/delete/"):
            return {"post": "yes"}
        _path, question, searched = address.partition("?")
        if question:
            return dict(zip(("app_label", "model_name", "field_name"), searched.split("."), strict=True))
        of_form = address.startswith("admin/") and address.endswith(("/add/", "/change/"))
        return (self._form_of(address) if of_form else {}) | self._typed(address)

    def _form_of(self, address: str) -> dict[str, Any]:
        """The fields of an admin page as the superuser's browser would send them back."""
        context = self.clients["super"].get(self.path(address)).context
        if context is None or "adminform" not in context:
            return {}
        formsets = [inline.formset for inline in context["inline_admin_formsets"]]
        forms = [context["adminform"].form, *(formset.management_form for formset in formsets)]
        data: dict[str, Any] = {}
        for field in chain.from_iterable([*forms, *chain.from_iterable(formsets)]):
            data |= _sent_back(field)
        return data

    def _typed(self, address: str) -> dict[str, Any]:
        """What a person types in addition."""
        mapping = self.rows["badging.coursebadgemapping"]
        typed: dict[str, dict[str, Any]] = {
            "sign-in/": {"login": "nobody", "password": "wrong"},
            "confirm/": {"password": "correct horse"},
            "password/forgotten/": {"email": "plain@example.org"},
            "admin/login/": {"username": "super", "password": "wrong"},
            "password/": {"oldpassword": "correct horse", "password1": PASSWORD, "password2": PASSWORD},
            "admin/password_change/": {
                "old_password": "correct horse",
                "new_password1": PASSWORD,
                "new_password2": PASSWORD,
            },
            "courses/<int:pk>/find/": {"q": "Lee"},
            "admin/badging/coursebadgemapping/<int:mapping_pk>/failed/": {"kind": "send_again", "confirmed": "yes"},
            "courses/<int:pk>/badge/review/": {"who": "past", "min_score": "40"},
            "admin/verification/": {"look": "1"},
            "admin/auth/group/add/": {"name": "New group"},
            "admin/auth/group/<path:object_id>/change/": {"name": "Renamed"},
            "admin/auth/user/add/": {"email": "new@example.org", "first_name": "Nia", "last_name": "Rowe"},
            "admin/auth/user/<path:object_id>/change/": {"first_name": "Nia", "last_name": "Rowe"},
            "admin/badging/scheduledtask/<path:object_id>/change/": {"every_seconds": "20"},
            "admin/badging/coursemanager/add/": {
                "users": User.objects.get(username="plain").pk,
                "courses": self.rows["moodle_sync.course"].pk,
            },
            "admin/going-live/<int:pk>/": {
                "step": "go",
                f"badge-{mapping.pk}": f"{builders.PROVIDER + 7000}-{builders.BADGE + 7000}",
                f"seen-{mapping.pk}": version_of(mapping),
            },
            "admin/badging/connectiongrant/add/": {
                "what": f"{self.rows['badging.navigatrconnection'].pk}-",
                "kind": "site",
                "site": self.rows["moodle_sync.moodlesite"].pk,
            },
            "admin/badging/navigatrconnection/add/": {
                "name": "New",
                "environment": "staging",
                "new_token": self.sandbox.pat,
            },
            "admin/moodle_sync/moodlesite/add/": {
                "name": "New",
                "url": self.sandbox.moodle_url,
                "new_token": self.sandbox.moodle_token,
            },
        }
        return typed.get(address, {})


def _sent_back(field: Any) -> dict[str, Any]:
    """A bound field of a form as a browser sends its value; what is empty or unticked is not sent."""
    widget, value = field.field.widget, field.value()
    if hasattr(widget, "decompress"):
        parts = zip(widget.widgets_names, widget.decompress(value), strict=True)
        return {field.html_name + suffix: part for suffix, part in parts if part is not None}
    return {} if value is None or value is False else {field.html_name: value}


def make_world(sandbox: Sandbox) -> World:
    """One row of each model that the admin shows, all about the course of `manager`."""
    course = builders.make_course()
    mapping = builders.map_course(sandbox, course=course)
    builders.connect(sandbox, environment="production", pat=sandbox.production_pat)
    issuance = builders.make_issuance(mapping, state=State.FAILED, reason=Outcome.FORBIDDEN)
    clients = browsers(course, builders.make_course(course.site))
    spare = User.objects.create_user("spare", "spare@example.org", "correct horse")
    lock = {"account": f"user {spare.pk}", "user": spare, "place": "address 192.0.2.1", "failed_at": timezone.now()}
    rows = {
        "auth.group": Group.objects.create(name="Spare"),
        "auth.user": spare,
        "badging.bulkrun": bulk.start_failed(kind=BulkRun.Kind.CANCEL, course=course, actor=None, now=timezone.now()),
        "badging.auditentry": AuditEntry.objects.create(action="site_saved", subject="Moodle"),
        "badging.coursebadgemapping": mapping,
        "badging.coursemanager": CourseManager.objects.get(course=course),
        "badging.connectiongrant": mapping.connection.grants.get(),
        "badging.issuance": issuance,
        "badging.issuanceattempt": builders.make_attempt(issuance),
        "badging.navigatrconnection": mapping.connection,
        "badging.scheduledtask": ScheduledTask._default_manager.get(task="badging.tasks.send_sweep"),
        "moodle_sync.completion": issuance.completion,
        "moodle_sync.course": course,
        "moodle_sync.learner": issuance.learner,
        "people.signinlock": SignInLock.objects.create(**lock),
        # A site that nothing was read from may be deleted, and there is a question about it to answer.
        "moodle_sync.moodlesite": builders.make_site(url="https://other.example", doubt="Is it the same?"),
    }
    return World(clients, rows, sandbox)
