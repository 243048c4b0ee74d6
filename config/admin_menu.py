"""The menu of the admin and the header of all pages, in the order of the work."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Entry(NamedTuple):
    """A link: its text, the name of its address, an icon of Material Symbols, and the permission it needs.

    Without a permission it is for all staff.
    """

    title: Promise
    name: str
    icon: str = ""
    permission: str = ""


# Each group: its title, and its entries. A test finds models of the admin that are missing here.
MENU: list[tuple[Promise | str, list[Entry]]] = [
    (
        "",
        [
            Entry(_("Start"), "admin:index", "home"),
            Entry(_("What needs a person"), "admin:problems", "notification_important", "badging.view_issuance"),
            Entry(_("Set-up"), "admin:set_up", "checklist", "badging.add_navigatrconnection"),
        ],
    ),
    (
        _("Badges"),
        [
            Entry(_("Courses and badges"), "courses", "school"),
            Entry(
                _("Mappings"), "admin:badging_coursebadgemapping_changelist", "link", "badging.view_coursebadgemapping"
            ),
            Entry(_("Issuances"), "admin:badging_issuance_changelist", "workspace_premium", "badging.view_issuance"),
            Entry(
                _("Background actions"), "admin:badging_bulkrun_changelist", "playlist_play", "badging.view_issuance"
            ),
            Entry(_("Attempts"), "admin:badging_issuanceattempt_changelist", "send", "badging.view_issuanceattempt"),
            Entry(
                _("Completions"), "admin:moodle_sync_completion_changelist", "done_all", "moodle_sync.view_completion"
            ),
            Entry(_("Where is a badge?"), "admin:learner_badge", "travel_explore", "moodle_sync.view_learner"),
            Entry(_("Learners"), "admin:moodle_sync_learner_changelist", "person_search", "moodle_sync.view_learner"),
            Entry(_("Follow a badge"), "admin:verification", "route", "badging.view_issuance"),
        ],
    ),
    (
        _("Navigatr and Moodle"),
        [
            Entry(
                _("Navigatr connections"),
                "admin:badging_navigatrconnection_changelist",
                "cable",
                "badging.view_navigatrconnection",
            ),
            Entry(
                _("Opened to"), "admin:badging_connectiongrant_changelist", "lock_open", "badging.view_connectiongrant"
            ),
            Entry(_("Moodle sites"), "admin:moodle_sync_moodlesite_changelist", "dns", "moodle_sync.view_moodlesite"),
            Entry(_("Courses"), "admin:moodle_sync_course_changelist", "menu_book", "moodle_sync.view_course"),
        ],
    ),
    (
        _("People"),
        [
            Entry(_("People"), "admin:auth_user_changelist", "group", "people.manage_users"),
            Entry(
                _("Course managers"),
                "admin:badging_coursemanager_changelist",
                "supervisor_account",
                "badging.view_coursemanager",
            ),
            Entry(_("Sign-in locks"), "admin:people_signinlock_changelist", "lock_clock", "people.view_signinlock"),
            Entry(_("Roles"), "admin:auth_group_changelist", "groups", "auth.view_group"),
        ],
    ),
    (
        _("Records"),
        [
            Entry(_("Audit"), "admin:badging_auditentry_changelist", "history", "badging.view_auditentry"),
            Entry(_("Privacy"), "admin:privacy", "shield_person", "moodle_sync.export_learner"),
            Entry(
                _("Scheduled tasks"),
                "admin:badging_scheduledtask_changelist",
                "schedule",
                "badging.view_scheduledtask",
            ),
        ],
    ),
]

# What stands at the top of all pages, for staff.
HEADER = [
    Entry(_("Courses and badges"), "courses"),
    Entry(_("Learners"), "admin:moodle_sync_learner_changelist", permission="moodle_sync.view_learner"),
    Entry(_("What needs a person"), "admin:problems", permission="badging.view_issuance"),
    Entry(
        _("Connections"), "admin:badging_navigatrconnection_changelist", permission="badging.view_navigatrconnection"
    ),
    Entry(_("Privacy"), "admin:privacy", permission="moodle_sync.export_learner"),
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
    return [entry for entry in entries if not entry.permission or user.has_perm(entry.permission)]


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
