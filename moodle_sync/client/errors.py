"""Errors of calls to Moodle: one class for each thing that a caller can do next.

Moodle answers most errors with HTTP 200 and an `errorcode`; ERRORCODES says what each one means. Moodle's own message
and debug text are never kept, since they hold user names, SQL and values. See docs/moodle-api.md, "Errors".
"""

import re
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from outbound_http import WireFailure, parse_retry_after

from . import functions
from .translation import gettext_noop

# The form of Moodle's error codes. A text of another form is not repeated, since it may hold personal data.
_ERRORCODE = re.compile(r"[\w:/.-]{1,60}", re.ASCII)


class MoodleError(Exception):
    """A call to Moodle failed.

    `str(error)` is the function and a code, such as "core_x_y: HTTP 503", without personal data. `function` is the
    web-service function; `errorcode` is Moodle's own code or ""; `status` is the HTTP status, or None without an
    answer; `failure` describes an error without errorcode in a few words; `retry_after` is how long Moodle asked us to
    wait, or None. `advice` tells the Moodle administrator what to do; its default is the advice of the errorcode, or
    else of the class.
    """

    advice: str = gettext_noop("Moodle gave an answer that the portal does not know. Try again later.")

    def __init__(
        self,
        function: str,
        *,
        errorcode: str = "",
        status: int | None = None,
        failure: str = "",
        advice: str | None = None,
        retry_after: timedelta | None = None,
        wire: WireFailure | None = None,
        location: str = "",
    ) -> None:
        super().__init__(function)
        self.function = function
        self.errorcode = errorcode
        self.status = status
        self.failure = failure
        self.advice = advice or ERRORCODES.get(errorcode, (None, ""))[1] or self.advice
        self.retry_after = retry_after
        self.wire = wire
        self.location = location

    def __str__(self) -> str:
        if self.errorcode:
            return f"{self.function}: {self.errorcode}"
        parts = [f"HTTP {self.status}" if self.status else "", self.failure]
        return f"{self.function}: {', '.join(part for part in parts if part) or 'failed'}"


class MoodleUnavailable(MoodleError):
    """Moodle is out of reach or busy; the same call may succeed later."""

    advice = gettext_noop(
        "Moodle cannot be reached or is too busy. If this lasts, check that the address is right, that Moodle is "
        "running, that its TLS certificate is valid, and that its firewall lets the portal in. The portal's log says "
        "more."
    )


class MoodleTokenRefused(MoodleError):
    """Moodle refuses the token or its account. Every call fails until a Moodle administrator acts."""

    advice = gettext_noop("Create a new token for the portal's account and service, and enter it here.")


class MoodleNotAllowed(MoodleError):
    """The account may not do this, because of its role, a hidden course, or the audience of a report."""

    advice = gettext_noop("Give the role of the portal's account the capability that this needs.")

    @classmethod
    def no_feed(cls) -> "MoodleNotAllowed":
        """The error of a site where neither feed can be used."""
        return MoodleNotAllowed(
            functions.SITE_INFO,
            failure="neither the report nor the per-learner functions are usable",
            advice=gettext_noop(
                'Completions cannot be read from this Moodle yet. Either make the report "Navigatr badge feed", with '
                "the role of the portal's account as its audience; or let the account read learner by learner, for "
                "which its role needs moodle/course:view, moodle/course:viewparticipants, moodle/user:viewdetails, "
                "moodle/site:viewuseridentity and report/completion:view. The site's check names every function that "
                "the service lacks. Then check the connection again."
            ),
        )


class MoodleReportRefused(MoodleNotAllowed):
    """The account may not read custom reports, or not this one."""


class ReportLayoutChanged(MoodleNotAllowed):
    """The report is not as agreed, so none of it is read; `reason` says how it differs."""

    advice = gettext_noop(
        'Put the report "Navigatr badge feed" (Reports, Report builder, Custom reports) back as agreed. Source: Course '
        "participants. Columns, in this order and with their own titles: Course full name with link, Course short "
        "name, Full name with link, Username, First name, Last name, Email address, Completed, Time completed, Grade. "
        "Condition: Completed = Yes, and no other. Filters: Time completed and Select course. Sorting: Time completed "
        '(descending), then Course short name, then Username. "Remove any duplicate rows" on. Audience: the system '
        "role of the portal's account."
    )

    def __init__(self, reason: str) -> None:
        super().__init__(functions.RETRIEVE_REPORT, failure=f"report layout changed, {reason}")
        self.args = (reason,)
        self.reason = reason


class MoodleGone(MoodleError):
    """The course or report no longer exists."""

    advice = gettext_noop(
        "The course or report no longer exists in Moodle. Choose another one, or restore it from Moodle's recycle bin."
    )


class MoodleSomethingGone(MoodleGone):
    """The learner's account or the course no longer exists; Moodle 5.0 does not say which."""


class MoodleLearnerGone(MoodleGone):
    """The learner's account no longer exists."""

    advice = gettext_noop("The account was deleted in Moodle. Nothing needs to be done.")


class MoodleNotTracked(MoodleError):
    """Moodle tracks no completion for this person in this course. That may change with the enrolment."""

    advice = gettext_noop(
        "The person is not enrolled, the enrolment is suspended, or the role (such as teacher) is not tracked. "
        "Nothing needs to be done unless this person should earn the badge."
    )


class MoodleUnreadable(MoodleError):
    """Moodle could not give this answer, or gave one that cannot be read. Other answers are not affected."""

    advice = gettext_noop(
        "Moodle could not answer for this learner. Most likely a name holds something like <Test> that Moodle does not "
        "let pass: correct it in the learner's profile."
    )


class MoodleNoCriteria(MoodleError):
    """Nobody can complete the course, because it has no completion criteria."""

    advice = gettext_noop("Set the course's completion criteria (Course, More, Course completion).")


class MoodleUnexpected(MoodleError):
    """The answer is not one of Moodle's, has an unknown errorcode, or says that the question was wrong."""


_ROLE = gettext_noop(
    "Let the role of the portal's account see the course: moodle/course:view, and for a hidden course "
    "moodle/course:viewhiddencourses. The role must be assigned in the system context."
)
_GROUPS = gettext_noop(
    "The course uses separate groups, and the portal's account is in none of them. Give its role "
    "moodle/site:accessallgroups, in the system context."
)
_REPORT = gettext_noop(
    "Check that custom reports are enabled (Site administration, Advanced features), that the audience of the "
    'report "Navigatr badge feed" contains the role of the portal\'s account (a changed audience takes up to 30 '
    "minutes to work), and that this role has moodle/reportbuilder:view."
)
_QUESTION = gettext_noop(
    "Moodle did not understand the portal's question. This is a fault of the portal or a change in Moodle: report it "
    "with the function's name and Moodle's version."
)
_UNKNOWN_FUNCTION = gettext_noop(
    "This Moodle does not know the function. The portal needs Moodle 3.7 or later, and 4.1 or later for the report."
)
_PHP_ERROR = gettext_noop(
    "Moodle itself failed while it answered (a PHP error). Its own log tells more. The portal goes on with the rest."
)
_PASSWORD = gettext_noop(
    'Moodle wants the portal\'s account to change its password. Edit the account, untick "Force password change", '
    'and set its authentication to "Web services authentication" (listed under Disabled).'
)

# The advice where Moodle answers 403 without a word.
SERVICES_OFF = gettext_noop(
    "Web services or the REST protocol are switched off. Enable web services (Site administration, Advanced features) "
    "and REST (Server, Web services, Manage protocols)."
)

# Moodle's error codes with their class and the advice; "" stands for the advice of the class.
ERRORCODES: dict[str, tuple[type[MoodleError], str]] = {
    "invalidtoken": (
        MoodleTokenRefused,
        gettext_noop(
            "Moodle does not know this token: it is mistyped, was deleted, or has expired. Create a new token for the "
            'portal\'s account and service, without a date in "Valid until", and enter it here.'
        ),
    ),
    "accessexception": (
        MoodleTokenRefused,
        gettext_noop(
            "Moodle refuses the token and does not say why. Check each of these: the token has just expired (then "
            'create a new one without a date in "Valid until"); the portal\'s address is outside the IP range of the '
            'token or of the authorised user; the authorised user has a date in "Valid until" (leave it empty); the '
            "service is disabled; the account is not an authorised user of the service; the service requires a "
            "capability that the account lacks; the function is not in the service; the account's role lacks "
            "webservice/rest:use."
        ),
    ),
    "wsaccessusersuspended": (
        MoodleTokenRefused,
        gettext_noop("The portal's account is suspended in Moodle. Activate it."),
    ),
    "wsaccessuserunconfirmed": (
        MoodleTokenRefused,
        gettext_noop("The portal's account is not confirmed in Moodle. Confirm it."),
    ),
    "wsaccessusernologin": (
        MoodleTokenRefused,
        gettext_noop(
            'The portal\'s account has the authentication "No login". Set it to "Web services authentication".'
        ),
    ),
    "wsaccessuserexpired": (
        MoodleTokenRefused,
        gettext_noop("The password of the portal's account has expired. Renew it in Moodle."),
    ),
    "wsaccessuserdeleted": (
        MoodleTokenRefused,
        gettext_noop("The portal's account was deleted in Moodle. Create a new account and token."),
    ),
    "nopasswordchangeforced": (MoodleTokenRefused, _PASSWORD),
    "forcepasswordchangenotice": (MoodleTokenRefused, _PASSWORD),
    "servicerequireslogin": (
        MoodleTokenRefused,
        gettext_noop("This kind of token needs a signed-in user. Create a permanent token under Manage tokens."),
    ),
    "sitepolicynotagreed": (
        MoodleTokenRefused,
        gettext_noop("Sign in to Moodle once as the portal's account and agree to the site policy."),
    ),
    "sitemaintenance": (
        MoodleUnavailable,
        gettext_noop("Moodle is in maintenance mode. Try again when it is over."),
    ),
    "upgraderunning": (
        MoodleUnavailable,
        gettext_noop("Moodle is being upgraded. Try again when that is done."),
    ),
    "dbconnectionfailed": (
        MoodleUnavailable,
        gettext_noop("Moodle cannot reach its own database. It is tried again; if this lasts, tell Moodle's host."),
    ),
    "usernotfullysetup": (
        MoodleTokenRefused,
        gettext_noop(
            "The profile of the portal's account lacks a field that this Moodle requires. Edit the account (Site "
            "administration, Users, Browse list of users) and fill in every required field."
        ),
    ),
    "invalidparameter": (MoodleUnexpected, _QUESTION),
    "invalidrecord": (MoodleGone, ""),
    # For a deleted account, after Moodle's hourly clean-up, 4.5 answers the first. 5.0 answers the second, which it
    # also does for other unknown records.
    "invaliduser": (MoodleLearnerGone, ""),
    "invalidrecordunknown": (MoodleSomethingGone, ""),
    "userdeleted": (MoodleLearnerGone, ""),
    "invalidresponse": (MoodleUnreadable, ""),
    "generalexceptionmessage": (
        MoodleUnreadable,
        gettext_noop("Moodle itself failed while it answered (a PHP error). Its own log tells more."),
    ),
    "accessdenied": (MoodleNotAllowed, _GROUPS),
    "notingroup": (MoodleNotAllowed, _GROUPS),
    "requireloginerror": (MoodleNotAllowed, _ROLE),
    "errorcoursecontextnotvalid": (MoodleNotAllowed, _ROLE),
    "nopermissions": (
        MoodleNotAllowed,
        gettext_noop("The role of the portal's account lacks a capability that this function needs."),
    ),
    "cannotviewreport": (
        MoodleNotAllowed,
        gettext_noop(
            "Moodle does not show course completions. Check that completion tracking is on for the site (Advanced "
            "features) and in the course's settings, and that the role of the portal's account has "
            "report/completion:view."
        ),
    ),
    "nopermissiontoviewgrades": (
        MoodleNotAllowed,
        gettext_noop("Give the role of the portal's account moodle/grade:viewall, in the system context."),
    ),
    "errorreportview": (MoodleReportRefused, _REPORT),
    "nocriteriaset": (MoodleNoCriteria, ""),
    "usernotenroled": (MoodleNotTracked, ""),
    "usernotconfirmed": (
        MoodleNotTracked,
        gettext_noop("The learner's account is not confirmed in Moodle. Confirm it there."),
    ),
}

# Advice that replaces that of ERRORCODES where this function answers with the code.
ADVICE: dict[tuple[str, str], str] = {
    (functions.ENROLLED_USERS, "nopermissions"): gettext_noop(
        "Give the role of the portal's account moodle/course:viewparticipants, in the system context."
    ),
    (functions.USERS, "nopermissions"): gettext_noop(
        "Give the role of the portal's account moodle/user:viewdetails, in the system context."
    ),
    (functions.GRADES, "nopermissions"): gettext_noop(
        "Give the role of the portal's account gradereport/user:view, in the system context."
    ),
    (functions.LIST_REPORTS, "errorreportview"): gettext_noop(
        "Give the role of the portal's account moodle/reportbuilder:view, in the system context: every signed-in user "
        "has it by default, and this Moodle took it away. Check too that custom reports are enabled (Site "
        "administration, Advanced features)."
    ),
}


def from_answer(function: str, answer: Any, status: int | None = None) -> MoodleError | None:
    """The error that a decoded answer holds, or None. A PHP error has an `exception` and no `errorcode`."""
    if not isinstance(answer, dict) or not answer.keys() & {"errorcode", "exception"}:
        return None
    if answer.get("errorcode") is None:
        return MoodleUnreadable(function, status=status, failure="a PHP error in Moodle", advice=_PHP_ERROR)
    return from_errorcode(function, answer["errorcode"], status)


def from_errorcode(function: str, errorcode: object, status: int | None = None) -> MoodleError:
    """The error that Moodle's `errorcode` stands for; an unknown or unreadable one is MoodleUnexpected."""
    if not isinstance(errorcode, str) or not _ERRORCODE.fullmatch(errorcode):
        return MoodleUnexpected(function, status=status, failure="unreadable errorcode")
    if errorcode == "invalidrecord" and function not in functions.LOOKUPS:
        return MoodleUnexpected(function, errorcode=errorcode, status=status, advice=_UNKNOWN_FUNCTION)
    kind = ERRORCODES[errorcode][0] if errorcode in ERRORCODES else MoodleUnexpected
    return kind(function, errorcode=errorcode, status=status, advice=ADVICE.get((function, errorcode)))


def from_status(function: str, status: int, *, empty: bool, retry_after: str = "", now: datetime) -> MoodleError | None:
    """The error that an HTTP status stands for if the body holds none; None for 200.

    `retry_after` is the header of that name; `empty` says that there was no body.
    """
    if status == HTTPStatus.OK:
        return None
    if status == HTTPStatus.FORBIDDEN and empty:
        return MoodleUnavailable(function, status=status, failure="web services or REST are off", advice=SERVICES_OFF)
    if status in (408, 425, 429) or status >= 500:
        return MoodleUnavailable(function, status=status, retry_after=parse_retry_after(retry_after, now))
    if 300 <= status < 400:
        advice = gettext_noop("The address redirects to another one. Enter the final address, as the browser shows it.")
    elif status == HTTPStatus.NOT_FOUND:
        advice = gettext_noop("There is no Moodle at this address. Enter the address of Moodle's front page.")
    elif status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        advice = gettext_noop(
            "Something in front of Moodle, such as a firewall or a password page, refuses the portal. Let the portal "
            "reach webservice/rest/server.php."
        )
    else:
        advice = gettext_noop(
            "Something that is not Moodle answered. Check the address and what stands in front of Moodle."
        )
    return MoodleUnexpected(function, status=status, advice=advice)
