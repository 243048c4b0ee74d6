"""The menu of the admin and the header of all pages, in the order of the work."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from badging import page_permissions


class Entry(NamedTuple):
    """A link: its text, the name of its address, an icon of Material Symbols, and the permissions that its page asks.

    Without any it is for everybody who sees the menu.
    """

    title: Promise
    name: str
    icon: str = ""
    permissions: tuple[str, ...] = ()


def _list(title: Promise, model: str, icon: str) -> Entry:
    """A link to the list of a model, such as "badging.issuance", for who may view it."""
    app, name = model.split(".")
    return Entry(title, f"admin:{app}_{name}_changelist", icon, (f"{app}.view_{name}",))


# Site admins may see the page as well, but it is not their work.
_PRIVACY = (*page_permissions.PRIVACY, "moodle_sync.export_learner")
# Each group: its title, and its entries. A test finds models of the admin that are missing here.
MENU: list[tuple[Promise | str, list[Entry]]] = [
    (
        "",
        [
            Entry(_("Start"), "admin:index", "home"),
            Entry(_("What needs a person"), "admin:problems", "notification_important", page_permissions.PROBLEMS),
            Entry(_("Set-up"), "admin:set_up", "checklist", page_permissions.SET_UP),
        ],
    ),
    (
        _("Badges"),
        [
            Entry(_("Courses and badges"), "courses", "school"),
            _list(_("Mappings"), "badging.coursebadgemapping", "link"),
            _list(_("Issuances"), "badging.issuance", "workspace_premium"),
            Entry(_("Where is a badge?"), "admin:learner_badge", "travel_explore", page_permissions.LEARNER_BADGE),
            Entry(_("Follow a badge"), "admin:verification", "route", page_permissions.VERIFICATION),
            Entry(
                _("Background actions"), "admin:badging_bulkrun_changelist", "playlist_play", ("badging.view_issuance",)
            ),
        ],
    ),
    (
        _("Connections"),
        [
            _list(_("Navigatr connections"), "badging.navigatrconnection", "cable"),
            _list(_("Opened to"), "badging.connectiongrant", "lock_open"),
            _list(_("Moodle sites"), "moodle_sync.moodlesite", "dns"),
        ],
    ),
    (
        _("People"),
        [
            Entry(_("People"), "admin:auth_user_changelist", "group", ("people.manage_users",)),
            _list(_("Course managers"), "badging.coursemanager", "supervisor_account"),
            _list(_("Sign-in locks"), "people.signinlock", "lock_clock"),
            _list(_("Roles"), "auth.group", "groups"),
        ],
    ),
    (
        _("Records"),
        [
            _list(_("Audit"), "badging.auditentry", "history"),
            Entry(_("Privacy"), "admin:privacy", "shield_person", _PRIVACY),
            _list(_("Learners"), "moodle_sync.learner", "person_search"),
            _list(_("Completions"), "moodle_sync.completion", "done_all"),
            _list(_("Courses in Moodle"), "moodle_sync.course", "menu_book"),
            _list(_("Attempts"), "badging.issuanceattempt", "send"),
            _list(_("Scheduled tasks"), "badging.scheduledtask", "schedule"),
        ],
    ),
]

# What stands at the top of all pages, those of course managers included.
HEADER = [
    Entry(_("Courses and badges"), "courses"),
    Entry(_("Learners"), "admin:learner_badge", permissions=page_permissions.LEARNER_BADGE),
    Entry(_("What needs a person"), "admin:problems", permissions=page_permissions.PROBLEMS),
    Entry(
        _("Connections"),
        "admin:badging_navigatrconnection_changelist",
        permissions=("badging.view_navigatrconnection",),
    ),
    Entry(_("Privacy"), "admin:privacy", permissions=_PRIVACY),
    Entry(_("Help"), "help"),
]


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The menu as unfold wants it, without what the user may not see."""
    groups = []
    for title, entries in MENU:
        items = [_item(request, entry) for entry in _allowed(request.user, entries)]
        if items:
            groups.append({"title": title, "separator": bool(title), "items": items})
    return groups


def header(user: Any, path: str) -> list[dict[str, Any]]:
    """The links at the top of the page at this path: text, address, and whether it is the page itself."""
    links = []
    for entry in _allowed(user, HEADER):
        url = reverse(entry.name)
        links.append({"title": entry.title, "url": url, "is_current": url == path})
    return links


def _allowed(user: Any, entries: Iterable[Entry]) -> list[Entry]:
    return [
        entry for entry in entries if not entry.permissions or (user.is_staff and user.has_perms(entry.permissions))
    ]


def _item(request: HttpRequest, entry: Entry) -> dict[str, Any]:
    url = reverse(entry.name)
    index = reverse("admin:index")
    is_below = url.startswith(index) and url != index and request.path.startswith(url)
    return {
        "title": entry.title,
        "icon": entry.icon,
        "link": url,
        "active": url == request.path or is_below,
        "has_permission": True,
    }
