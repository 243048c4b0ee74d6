"""An entry of the audit trail as sentences that a person can read aloud."""

from collections.abc import Callable, Mapping
from typing import Any

from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Feed

from .meanings import Outcome
from .models import AuditEntry, BulkRun, ConnectionGrant, Environment, NavigatrConnection

Action = AuditEntry.Action
# How many permissions are told by their names.
MOST_NAMED = 3
Details = Mapping[str, Any]

# What happened. `who` is a user name or "The portal", and `what` the entry's subject.
SENTENCES: dict[str, Any] = {
    Action.CONNECTION_SAVED: gettext_lazy("%(who)s saved the connection %(what)s."),
    Action.CONNECTION_TESTED: gettext_lazy("%(who)s tested the connection %(what)s."),
    Action.CONNECTION_PAUSED: gettext_lazy("%(who)s paused the connection %(what)s."),
    Action.CONNECTION_RESUMED: gettext_lazy("The connection %(what)s went on, after %(who)s tested it."),
    Action.CONNECTION_REMOVED: gettext_lazy("%(who)s removed the connection %(what)s."),
    Action.CONNECTION_OPENED: gettext_lazy("%(who)s opened the connection %(what)s."),
    Action.CONNECTION_CLOSED: gettext_lazy("%(who)s closed the connection %(what)s."),
    Action.SITE_SAVED: gettext_lazy("%(who)s saved the Moodle site %(what)s."),
    Action.SITE_CONFIRMED: gettext_lazy("%(who)s confirmed that the site %(what)s is still the same Moodle."),
    Action.FEED_CHANGED: gettext_lazy("The portal reads the site %(what)s in another way."),
    Action.MAPPING_SAVED: gettext_lazy("%(who)s chose a badge for the course %(what)s."),
    Action.MAPPING_CHANGED: gettext_lazy("%(who)s changed the badge of the course %(what)s."),
    Action.MAPPING_ENABLED: gettext_lazy("%(who)s enabled the badge of the course %(what)s."),
    Action.MAPPING_DISABLED: gettext_lazy("%(who)s disabled the badge of the course %(what)s."),
    Action.MAPPING_REMOVED: gettext_lazy("%(who)s removed the badge of the course %(what)s."),
    Action.PAST_RELEASED: gettext_lazy("%(who)s released the past completions of the course %(what)s."),
    Action.BADGE_BACK: gettext_lazy("The badge of the course %(what)s can be issued again."),
    Action.SENT_AGAIN: gettext_lazy("%(who)s sent again by hand: %(what)s."),
    Action.CANCELLED: gettext_lazy("%(who)s cancelled by hand: %(what)s."),
    Action.SCHEDULE_CHANGED: gettext_lazy("%(who)s changed the schedule of %(what)s."),
    Action.LEARNER_EXPORTED: gettext_lazy("%(who)s exported the data of a learner (%(what)s)."),
    Action.LEARNER_ERASED: gettext_lazy("%(who)s erased the data of a learner (%(what)s)."),
    Action.SIGNED_IN: gettext_lazy("%(what)s signed in."),
    Action.SIGNED_OUT: gettext_lazy("%(what)s signed out."),
    Action.SIGN_IN_FAILED: gettext_lazy("Somebody entered a wrong password for %(what)s."),
    Action.SIGN_IN_LOCKED: gettext_lazy("%(what)s must wait after wrong sign-ins."),
    Action.SIGN_IN_RELEASED: gettext_lazy("%(who)s let %(what)s sign in again at once."),
    Action.PASSWORD_CHANGED: gettext_lazy("%(what)s changed their password."),
    Action.RESET_SENT: gettext_lazy("%(what)s was mailed a link for a new password."),
    Action.PASSWORD_RESET: gettext_lazy("%(what)s chose a password by a link."),
    Action.FACTOR_ADDED: gettext_lazy("%(what)s added a second factor."),
    Action.FACTOR_REMOVED: gettext_lazy("%(who)s removed a second factor of %(what)s."),
    Action.FACTOR_RENEWED: gettext_lazy("%(what)s made new recovery codes."),
    Action.FACTOR_FAILED: gettext_lazy("Somebody entered a wrong second factor for %(what)s."),
    Action.ACCOUNT_LINKED: gettext_lazy("%(what)s used single sign-on for the first time."),
    Action.SIGN_ON_REFUSED: gettext_lazy("A sign-in by %(what)s was refused."),
    Action.USER_CREATED: gettext_lazy("%(who)s created the account of %(what)s."),
    Action.USER_INVITED: gettext_lazy("%(who)s invited %(what)s."),
    Action.USER_CHANGED: gettext_lazy("%(who)s changed the account of %(what)s."),
    Action.USER_DEACTIVATED: gettext_lazy("%(who)s deactivated the account of %(what)s."),
    Action.USER_REACTIVATED: gettext_lazy("%(who)s reactivated the account of %(what)s."),
    Action.USER_DELETED: gettext_lazy("%(who)s deleted the account of %(what)s."),
    Action.ROLES_CHANGED: gettext_lazy("%(who)s changed what %(what)s may do."),
    Action.GROUP_CHANGED: gettext_lazy("%(who)s changed the role %(what)s."),
    Action.MANAGER_GRANTED: gettext_lazy("%(who)s made %(what)s a course manager."),
    Action.MANAGER_REMOVED: gettext_lazy("%(what)s is no longer a course manager, by %(who)s."),
    Action.PASSWORD_LINK: gettext_lazy("%(who)s gave %(what)s a link for a new password."),
    Action.PASSWORD_SET: gettext_lazy("%(who)s set the password of %(what)s."),
    Action.SIGNED_OUT_ALL: gettext_lazy("%(who)s signed %(what)s out everywhere."),
    Action.CONNECTION_WENT_LIVE: gettext_lazy("%(who)s moved the courses of %(what)s to a production connection."),
    Action.PAST_LOOKED_FOR: gettext_lazy("%(who)s had past completions of the course %(what)s looked for."),
    Action.PAST_STOPPED: gettext_lazy("%(who)s stopped the past completions of the course %(what)s."),
    Action.LOOKED_UP: gettext_lazy("%(who)s had looked up again by hand: %(what)s."),
    Action.BULK_STARTED: gettext_lazy("%(who)s started a background action: %(what)s."),
    Action.BULK_STOPPED: gettext_lazy("%(who)s stopped a background action: %(what)s."),
    Action.PAST_DECLINED: gettext_lazy("%(who)s decided not to send the past completions of the course %(what)s."),
    Action.BULK_FAILED: gettext_lazy("A background action was given up after faults: %(what)s."),
    Action.BULK_ENDED: gettext_lazy("A background action of %(who)s ended: %(what)s."),
}

# What the other values of an entry are called. One that is not here is told by its own name.
LABELS: dict[str, Any] = {
    "added": gettext_lazy("permissions added"), "badge": gettext_lazy("badge"), "by": gettext_lazy("by"),
    "cancelled": gettext_lazy("cancelled"), "category": gettext_lazy("category"),
    "changed": gettext_lazy("changed"), "connection": gettext_lazy("connection"), "count": gettext_lazy("badges"),
    "course": gettext_lazy("course"), "courses": gettext_lazy("courses"),
    "created": gettext_lazy("created"), "deleted": gettext_lazy("deleted"),
    "environment": gettext_lazy("environment"), "feed": gettext_lazy("read by"), "from": gettext_lazy("before"),
    "how": gettext_lazy("link passed on by"), "include_past": gettext_lazy("past completions as well"),
    "is_staff": gettext_lazy("access to the admin"), "is_superuser": gettext_lazy("superuser"),
    "issuances": gettext_lazy("issuances"), "kind": gettext_lazy("which"), "learners": gettext_lazy("learners"),
    "limit": gettext_lazy("limit"), "manager": gettext_lazy("course manager"),
    "min_score": gettext_lazy("minimum score"), "moodle_id": gettext_lazy("Moodle user id"),
    "moved": gettext_lazy("badges queued again"), "name": gettext_lazy("name"), "ok": gettext_lazy("passed"),
    "provider": gettext_lazy("provider"), "queued": gettext_lazy("queued"), "reason": gettext_lazy("reason"),
    "removed": gettext_lazy("permissions removed"), "seconds": gettext_lazy("every so many seconds"),
    "seconds_before": gettext_lazy("before"), "sessions": gettext_lazy("sessions ended"),
    "site": gettext_lazy("Moodle site"), "staff": gettext_lazy("access to the admin"),
    "superuser": gettext_lazy("superuser"), "switched": gettext_lazy("switched"), "to": gettext_lazy("now"),
    "until": gettext_lazy("until"), "user": gettext_lazy("user number"), "username": gettext_lazy("user name"),
    "waiting": gettext_lazy("badges waiting"), "where": gettext_lazy("where"),
}  # fmt: skip


def sentence(entry: AuditEntry) -> str:
    """What happened, who did it, and all that was written down about it."""
    done = entry.get_action_display()
    known = {"who": entry.actor_name or _("The portal"), "what": entry.subject, "done": done}
    # An action that a newer portal wrote has no sentence here.
    template = SENTENCES.get(entry.action) or _("%(who)s: %(done)s (%(what)s).")
    return " ".join(filter(None, [str(template) % known, _more(entry)]))


def _more(entry: AuditEntry) -> str:
    """The other values of the entry: those of some actions as sentences, those of all others by their names."""
    details = dict(entry.details) if isinstance(entry.details, Mapping) else {}
    special = _SPECIAL.get(entry.action)
    told = [special(details)] if special else []
    told += [_named(name, value) for name, value in details.items() if value not in (None, "", [])]
    return " ".join(filter(None, told))


def _named(name: str, value: Any) -> str:
    label = str(LABELS.get(name, name.replace("_", " ")))
    return f"{label[:1].upper()}{label[1:]}: {_in_words(name, value)}."


def _in_words(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, Mapping):
        return ", ".join(f"{_setting(key)}: {_in_words(key, inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(str(_(item) if isinstance(item, str) else item) for item in value)
    if name == "environment":
        return str(dict(Environment.choices).get(value, value))
    if name == "feed":
        return str(dict(Feed.choices).get(value, value))
    return str(value)


def _setting(name: str) -> str:
    """What the page of a connection calls a setting."""
    columns = {field.name: field for field in NavigatrConnection._meta.concrete_fields}
    return str(columns[name].verbose_name if name in columns else name.replace("_", " "))


# Each of these takes what it tells out of the details.


def _feed(details: dict[str, Any]) -> str:
    feeds = dict(Feed.choices)
    before, after = (feeds.get(details.pop(name, ""), "-") for name in ("before", "feed"))
    change = _("From “%(before)s” to “%(after)s”.") % {"before": before, "after": after}
    return f"{change} {details.pop('reason', '')}".strip()


def _badge(details: dict[str, Any]) -> str:
    """Which badge it is, and whose: by name, and by number as some may have the same name."""
    told = []
    for name in ("badge", "provider"):
        number, known_as = details.pop(name, None), details.pop(f"{name}_name", "")
        if number is not None:
            told.append(_named(name, f"{known_as} ({number})" if known_as else f"#{number}"))
    return " ".join(told)


def _grant(details: dict[str, Any]) -> str:
    kind = dict(ConnectionGrant.Kind.choices).get(details.pop("to", ""), "")
    if details.get("manager"):
        details.pop("user", None)
    return _named(_("open to"), kind) if kind else ""


def _roles(details: dict[str, Any]) -> str:
    if "to" not in details:
        return ""
    before, after = ([str(_(name)) for name in details.pop(part, [])] for part in ("from", "to"))
    known = {"before": ", ".join(before) or _("no role"), "after": ", ".join(after) or _("no role")}
    return _("Before: %(before)s. Now: %(after)s.") % known


def _moved(details: dict[str, Any]) -> str:
    return _named("connection", details.pop("to", ""))


def _several(details: dict[str, Any]) -> str:
    """The subject tells how many."""
    details.pop("count", None)
    numbers = details.pop("issuances", None)
    return _named("issuances", ", ".join(f"#{number}" for number in numbers)) if isinstance(numbers, list) else ""


def _bulk(details: dict[str, Any]) -> str:
    """What was to be done, and to which: by the names that the pages have for them."""
    kinds, reasons = dict(BulkRun.Kind.choices), dict(Outcome.choices)
    kind, reason = details.pop("kind", ""), details.pop("reason", "")
    told = [_named(_("action"), kinds.get(kind, kind))] if kind else []
    told += [_named("reason", reasons.get(reason, reason))] if reason else []
    return " ".join(told)


def _permissions(details: dict[str, Any]) -> str:
    """Permissions by their names if they are few; else how many they are."""
    changed = {part: details.pop(part, None) or [] for part in ("added", "removed")}
    labels = _permission_labels() if any(changed.values()) else {}
    told = []
    for part, codes in changed.items():
        names = [labels.get(code, code) for code in codes] if len(codes) <= MOST_NAMED else [str(len(codes))]
        told += [_named(part, ", ".join(names))] if codes else []
    return " ".join(told)


def _permission_labels() -> dict[str, str]:
    """What all permissions are called, by their codes, such as "badging.view_issuance". Asks no database."""
    labels: dict[str, str] = {}
    for model in apps.get_models():
        meta = model._meta
        usual = [
            (
                get_permission_codename(action, meta),
                _("Can %(do)s %(what)s") % {"do": action, "what": meta.verbose_name},
            )
            for action in meta.default_permissions
        ]
        labels |= {f"{meta.app_label}.{codename}": str(name) for codename, name in [*usual, *meta.permissions]}
    return labels


def _roles_or_permissions(details: dict[str, Any]) -> str:
    return " ".join(filter(None, [_roles(details), _permissions(details)]))


_SPECIAL: dict[str, Callable[[dict[str, Any]], str]] = {
    Action.FEED_CHANGED: _feed,
    Action.MAPPING_SAVED: _badge,
    Action.MAPPING_CHANGED: _badge,
    Action.MAPPING_REMOVED: _badge,
    Action.BADGE_BACK: _badge,
    Action.CONNECTION_OPENED: _grant,
    Action.CONNECTION_CLOSED: _grant,
    Action.ROLES_CHANGED: _roles_or_permissions,
    Action.SENT_AGAIN: _several,
    Action.CANCELLED: _several,
    Action.LOOKED_UP: _several,
    Action.CONNECTION_WENT_LIVE: _moved,
    Action.BULK_STARTED: _bulk,
    Action.BULK_STOPPED: _bulk,
    Action.BULK_ENDED: _bulk,
    Action.BULK_FAILED: _bulk,
    Action.GROUP_CHANGED: _permissions,
}
