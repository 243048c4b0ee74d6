"""What a Moodle administrator does to let the portal read Moodle: the steps, in the words of their Moodle's pages.

`guide` gives the steps, matched to what a check of the site has found: what is done, and what is missing. The same
steps are described in docs/moodle-setup.md; a test holds the two together.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .client import functions
from .client.errors import SERVICES_OFF
from .client.inspection import NO_MOODLE
from .client.report_cells import AGREED_HEADERS, AGREED_NAME
from .site_check import finding_text

# Names that the portal proposes. Only the report's is fixed.
ROLE_NAME = "Navigatr badge portal"
ROLE_SHORT_NAME = "navigatrportal"
USER_NAME = "navigatr-portal"
SERVICE_NAME = "Navigatr badge portal"
# Capabilities of the portal's role. The last one is for the college to decide, so it is no part of the list to copy.
CAPABILITIES = (
    "webservice/rest:use",
    "moodle/reportbuilder:view",
    "moodle/course:view",
    "moodle/course:viewhiddencourses",
    "moodle/course:viewparticipants",
    "moodle/site:accessallgroups",
    "moodle/user:viewdetails",
    "moodle/site:viewuseridentity",
    "moodle/site:viewfullnames",
    "report/completion:view",
    "gradereport/user:view",
    "moodle/grade:viewall",
)
OPTIONAL_CAPABILITY = "moodle/grade:viewhidden"
FUNCTIONS = (functions.SITE_INFO, *(need.function for need in functions.NEEDS))
# The columns by which the agreed report is sorted, after the time, which is sorted descending.
SORTED_BY = ("Course short name", "Username")

# "5.0.6+ (Build: 20260403)"
_RELEASE = re.compile(r"(\d{1,3})\.(\d{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wording:
    """What Moodle's pages call things, from a release on. `tried` says whether the words were read in this release."""

    since: tuple[int, int]
    has_reports: bool = True
    tried: bool = False
    report_source: str = "Course participants"
    course_filter: str = "Select course"
    unique_rows: str = "Remove any duplicate rows"

    @property
    def name(self) -> str:
        """The release, such as "4.5"."""
        return "{}.{}".format(*self.since)


# The newest first.
WORDINGS = (
    Wording((5, 0), tried=True),
    Wording((4, 5), tried=True),
    # The first release whose custom reports can be read from outside.
    Wording((4, 1)),
    Wording((3, 7), has_reports=False),
)


class Key(StrEnum):
    """The steps, in their order."""

    FEATURES = "features"
    PROTOCOL = "protocol"
    ROLE = "role"
    ACCOUNT = "account"
    ASSIGNMENT = "assignment"
    SERVICE = "service"
    TOKEN = "token"  # noqa: S105 - the name of a step
    REPORT = "report"


class Progress(StrEnum):
    """How a step stands, as far as the check can tell."""

    UNKNOWN = "unknown"
    DONE = "done"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Copy:
    """Names or lists to copy into Moodle's forms."""

    label: str
    text: str

    @property
    def rows(self) -> int:
        """The number of lines."""
        return self.text.count("\n") + 1


@dataclass(frozen=True, slots=True)
class Step:
    """One step: where in Moodle, what to do there, what to copy, how it stands, and what the check found missing."""

    key: Key
    place: str
    todo: tuple[str, ...]
    copies: tuple[Copy, ...] = ()
    progress: Progress = Progress.UNKNOWN
    missing: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """Its place, from 1."""
        return list(Key).index(self.key) + 1

    @property
    def place_below(self) -> str:
        """The place without "Site administration"."""
        return self.place.partition(" → ")[2]


@dataclass(frozen=True, slots=True)
class Guide:
    """All steps, in the wording of a release. `release` is Moodle's own name for it, "" if it is not known.

    `others` are findings that belong to no step.
    """

    wording: Wording
    release: str
    steps: tuple[Step, ...]
    others: tuple[str, ...] = ()

    @property
    def is_left(self) -> bool:
        """Whether anything is left to do, or nothing is known yet."""
        return bool(self.others) or any(step.progress != Progress.DONE for step in self.steps)


def guide(findings: Sequence[dict[str, Any]] = ()) -> Guide:
    """The steps for the Moodle of which a check has found this, in the form in which findings are stored."""
    release = next((str(row["values"].get("release", "")) for row in findings if row["check"] == "version"), "")
    wording = wording_of(release)
    lacks = [row for row in findings if not row["ok"]]
    lacking = [str(row["values"]["function"]) for row in lacks if row["check"].startswith("function-")]
    checked = {row["check"] for row in findings if row["ok"]}
    mended = [(row, _steps_of(row)) for row in lacks]
    steps = []
    for key, (place, describe) in _STEPS.items():
        todo, copies = describe(wording, lacking)
        missing = tuple(finding_text(row) for row, where in mended if key in where)
        progress = Progress.LEFT if missing else Progress.DONE if checked & _SHOWN_BY[key] else Progress.UNKNOWN
        steps.append(Step(key, str(place), tuple(todo), tuple(copies), progress, missing))
    others = tuple(finding_text(row) for row, where in mended if not where)
    return Guide(wording, release, tuple(steps), others)


def wording_of(release: str) -> Wording:
    """The wording of a release, such as "4.5.5+ (Build: 20250613)". The newest for what is unknown."""
    found = _RELEASE.match(release)
    if found is None:
        return WORDINGS[0]
    number = (int(found[1]), int(found[2]))
    return next((wording for wording in WORDINGS if wording.since <= number), WORDINGS[-1])


def as_text(steps: Iterable[Step]) -> str:
    """The steps as plain text, to send to somebody."""
    parts = []
    for step in steps:
        lines = [f"{step.number}. {step.place}"]
        lines += [f"   - {text}" for text in (*step.todo, *step.missing)]
        for copy in step.copies:
            lines += [f"   {copy.label}:", *(f"       {line}" for line in copy.text.splitlines())]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


# What is done in each step

_Description = tuple[list[str], list[Copy]]


def _features(wording: Wording, lacking: Sequence[str]) -> _Description:
    also = _("“Enable completion tracking” must be ticked too; without it there is nothing to read.")
    if wording.has_reports:
        also = _("“Enable completion tracking” and “Enable custom reports” must be ticked too.")
    return [_("Tick “Enable web services”."), also], []


def _protocol(wording: Wording, lacking: Sequence[str]) -> _Description:
    return [_("Enable “REST protocol”.")], []


def _role(wording: Wording, lacking: Sequence[str]) -> _Description:
    todo = [
        _("Add a role without archetype, with the context type “System”."),
        _("Allow these capabilities, and no others. They decide what the portal may see."),
        _("For the college to decide: %(capability)s. Without it, totals over hidden work count as missing.")
        % {"capability": OPTIONAL_CAPABILITY},
    ]
    names = [Copy(_("Short name"), ROLE_SHORT_NAME), Copy(_("Custom full name"), ROLE_NAME)]
    capabilities = [name for name in CAPABILITIES if wording.has_reports or "reportbuilder" not in name]
    return todo, [*names, Copy(_("Capabilities"), "\n".join(capabilities))]


def _account(wording: Wording, lacking: Sequence[str]) -> _Description:
    todo = [
        _("Add an account of the portal's own, and fill in every required profile field."),
        _(
            "Authentication method: “Web services authentication”. It is listed under “Disabled” and works all the "
            "same. Nobody can sign in with such an account."
        ),
        _("Leave “Force password change” unticked."),
    ]
    return todo, [Copy(_("Username"), USER_NAME)]


def _assignment(wording: Wording, lacking: Sequence[str]) -> _Description:
    return [_("Give the account the role of step 3. In the system context it holds for all courses.")], []


def _service(wording: Wording, lacking: Sequence[str]) -> _Description:
    todo = [
        _("Add a service with “Enabled” and “Authorised users only”."),
        _("Add these functions. The portal can call no others."),
        _("Under “Authorised users” add the account. Leave its “Valid until” empty: Moodle reads it the wrong way "
          "round."),
        _("Moodle lists “missing capabilities” there that the portal does not need: ignore them."),
    ]  # fmt: skip
    names = [name for name in FUNCTIONS if wording.has_reports or "reportbuilder" not in name]
    functions_copy = Copy(_("Functions"), "\n".join(names))
    if lacking:
        functions_copy = Copy(_("Functions that the service lacks"), "\n".join(lacking))
    return todo, [Copy(_("Name of the service"), SERVICE_NAME), functions_copy]


def _token(wording: Wording, lacking: Sequence[str]) -> _Description:
    todo = [
        _("Press “Create token” for the account and the service."),
        _(
            "Moodle presets “Valid until” to 30 days from now: clear it. An expired token stops everything, and the "
            "portal cannot warn, because Moodle does not tell when a token expires."
        ),
        _("Give the token to whoever looks after the portal, as carefully as a password."),
    ]
    return todo, []


def _report(wording: Wording, lacking: Sequence[str]) -> _Description:
    if not wording.has_reports:
        return [_("Nothing to do: reports can be read from Moodle 4.1 on. Until then the portal reads learner by "
                  "learner.")], []  # fmt: skip
    values = {
        "source": wording.report_source,
        "course": wording.course_filter,
        "unique": wording.unique_rows,
        "first": SORTED_BY[0],
        "second": SORTED_BY[1],
    }
    todo = [
        _("Add a report of exactly this name, with the source “%(source)s”. Untick “Include default setup”."),
        _("Columns: these, in this order, with their own titles."),
        _("Conditions: “Completed” is “Yes”, and no other."),
        _("Filters: “Time completed” and “%(course)s”."),
        _("Sorting: “Time completed” descending, then “%(first)s”, then “%(second)s”."),
        _("Settings: “%(unique)s” on."),
        _("Audience: “Assigned system role”, the role of step 3. A change of it takes up to 30 minutes to work."),
    ]
    copies = [Copy(_("Name of the report"), AGREED_NAME), Copy(_("Columns"), "\n".join(AGREED_HEADERS))]
    return [text % values for text in todo], copies


_STEPS: dict[Key, tuple[Any, Callable[[Wording, Sequence[str]], _Description]]] = {
    Key.FEATURES: (gettext_lazy("Site administration → Advanced features"), _features),
    Key.PROTOCOL: (gettext_lazy("Site administration → Server → Web services → Manage protocols"), _protocol),
    Key.ROLE: (gettext_lazy("Site administration → Users → Permissions → Define roles"), _role),
    Key.ACCOUNT: (gettext_lazy("Site administration → Users → Accounts → Add a new user"), _account),
    Key.ASSIGNMENT: (gettext_lazy("Site administration → Users → Permissions → Assign system roles"), _assignment),
    Key.SERVICE: (gettext_lazy("Site administration → Server → Web services → External services"), _service),
    Key.TOKEN: (gettext_lazy("Site administration → Server → Web services → Manage tokens"), _token),
    Key.REPORT: (gettext_lazy("Site administration → Reports → Report builder → Custom reports"), _report),
}

# Checks that pass only when the step is done. What else the step needs is a finding of its own where it is missing.
_SHOWN_BY: dict[Key, frozenset[str]] = {
    Key.FEATURES: frozenset({"completion"}),
    Key.PROTOCOL: frozenset({"rest"}),
    Key.ROLE: frozenset({"report-readable", "completion-status", "participants", "people"}),
    Key.ACCOUNT: frozenset({"token"}),
    Key.ASSIGNMENT: frozenset({"report-readable", "completion-status", "participants", "people"}),
    Key.SERVICE: frozenset({"token"}),
    Key.TOKEN: frozenset({"token"}),
    Key.REPORT: frozenset({"report-readable"}),
}
# Steps in which what a check misses is put right.
_MENDED_IN: dict[str, frozenset[Key]] = {
    "rest": frozenset({Key.FEATURES, Key.PROTOCOL}),
    "completion": frozenset({Key.FEATURES}),
    "custom-reports": frozenset({Key.FEATURES}),
    "token": frozenset({Key.ACCOUNT, Key.SERVICE, Key.TOKEN}),
    **dict.fromkeys(
        ("courses", "participants", "emails", "names", "groups", "completion-status", "people", "grades"),
        frozenset({Key.ROLE}),
    ),
}


def _steps_of(finding: dict[str, Any]) -> frozenset[Key]:
    """The steps in which what a check misses is put right. Most faults of an address are no step's matter."""
    check: str = finding["check"]
    if check == "address":
        services_off = finding["message"] == NO_MOODLE or finding["values"].get("advice") == SERVICES_OFF
        return frozenset({Key.FEATURES, Key.PROTOCOL}) if services_off else frozenset()
    if check.startswith("function-"):
        return frozenset({Key.SERVICE})
    if check == "report" or check.startswith("report-"):
        return frozenset({Key.REPORT})
    return _MENDED_IN.get(check, frozenset())
