"""What each answer and each stop means, and what a person should do: one table for admin, pages and commands.

The rows for Navigatr's answers are those of its API ("Issuing", the table of statuses).
"""

from typing import NamedTuple

from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

import navigatr_client


class Outcome(models.TextChoices):
    """How an attempt ended, and why an issuance stands where it stands."""

    # Navigatr answered.
    ISSUED = "issued", _("Issued")
    PERHAPS_TWICE = "perhaps_twice", _("Issued, a double cannot be excluded")
    FOUND = "found", _("Already issued, found in Navigatr")
    NOT_MET = "not_met", _("Badge requirement not met")
    BAD_SOURCE = "bad_source", _("Badge cannot be issued through the API")
    TOKEN_REFUSED = "token_refused", _("Token refused")
    FORBIDDEN = "forbidden", _("Account may not issue this badge")
    NOT_FOUND = "not_found", _("Badge or provider not found")
    UNPUBLISHED = "unpublished", _("Badge unpublished or provider deactivated")
    PROFILE_REFUSED = "profile_refused", _("Navigatr refuses the learner's profile")
    REJECTED = "rejected", _("Refused by Navigatr")
    # It may work later.
    RATE_LIMITED = "rate_limited", _("Too many requests")
    UNAVAILABLE = "unavailable", _("Navigatr could not be reached")
    UNCLEAR = "unclear", _("Sent, answer unknown")
    LEASE_RAN_OUT = "lease_ran_out", _("Worker stopped while sending, answer unknown")
    NOT_THERE = "not_there", _("Looked up: not issued yet")
    LOOKUP_FAILED = "lookup_failed", _("Look-up failed")
    LOOKUP_REFUSED = "lookup_refused", _("Look-up refused, a double cannot be excluded")
    # Decided here, without a call.
    PROFILE_INCOMPLETE = "profile_incomplete", _("Learner profile incomplete")
    LEARNER_DELETED = "learner_deleted", _("Learner deleted in Moodle")
    LEARNER_SUSPENDED = "learner_suspended", _("Learner suspended in Moodle")
    COMPLETION_UNDONE = "completion_undone", _("No longer completed in Moodle")
    COURSE_GONE = "course_gone", _("Course deleted in Moodle")
    IMPLAUSIBLE_DATE = "implausible_date", _("Implausible completion date")
    AWAITS_MOODLE = "awaits_moodle", _("Waits for Moodle to confirm it")
    NAMES_HIDDEN = "names_hidden", _("Moodle does not show the learner's name or address")
    DUPLICATE_RECIPIENT = "duplicate", _("Another learner with this address already has this badge")
    MAY_HOLD = "may_hold", _("The learner may already have this badge")
    ALREADY_HOLDS = "already_holds", _("The learner already has this badge")
    ELSEWHERE = "elsewhere", _("The learner has another issuance for this course")
    BELOW_MIN_SCORE = "below_min_score", _("Score below the mapping's minimum score")
    NO_SCORE = "no_score", _("No score in Moodle yet")
    SCORE_HIDDEN = "score_hidden", _("Course total hidden in Moodle")
    GAVE_UP = "gave_up", _("Given up after many attempts")
    OUR_BUG = "our_bug", _("A fault in the portal")
    # Waiting for a switch.
    CONNECTION_PAUSED = "connection_paused", _("Connection paused")
    CONNECTION_REMOVED = "connection_removed", _("Connection removed")
    MAPPING_DISABLED = "mapping_disabled", _("Mapping disabled")
    NOT_OPEN = "not_open", _("Connection not open to the course")
    PAST_WAITS = "past_waits", _("Past completion, not released yet")
    # Ended by a person.
    MAPPING_REMOVED = "mapping_removed", _("Mapping removed")
    WENT_LIVE = "went_live", _("Completed before the course went live")
    ERASED = "erased", _("Learner erased")
    BY_HAND = "by_hand", _("Cancelled by hand")


class Meaning(NamedTuple):
    """What happened and what to do, each a sentence for a person."""

    what: "str | Promise"
    todo: "str | Promise"


NOTHING = _("Nothing to do.")
WAITS = _("Nothing to do: it is tried again by itself.")

# Navigatr did not answer, or not clearly. Every other outcome of a call is an answer.
TROUBLE = frozenset({Outcome.UNAVAILABLE, Outcome.UNCLEAR})

# Outcomes after which a person must act. Those of TROUBLE and RATE_LIMITED end so as well when no try is left.
FAILING = [
    Outcome.BAD_SOURCE,
    Outcome.FORBIDDEN,
    Outcome.NOT_FOUND,
    Outcome.UNPUBLISHED,
    Outcome.PROFILE_REFUSED,
    Outcome.REJECTED,
    Outcome.LOOKUP_REFUSED,
    Outcome.PROFILE_INCOMPLETE,
    Outcome.NAMES_HIDDEN,
    Outcome.DUPLICATE_RECIPIENT,
    Outcome.MAY_HOLD,
    Outcome.OUR_BUG,
]
MAY_PASS = [*sorted(TROUBLE), Outcome.RATE_LIMITED, Outcome.LOOKUP_FAILED]

# Why an issuance is held by what Moodle says; it goes on by itself once Moodle says otherwise.
HELD_BY_MOODLE = [
    Outcome.LEARNER_DELETED,
    Outcome.LEARNER_SUSPENDED,
    Outcome.COMPLETION_UNDONE,
    Outcome.COURSE_GONE,
    Outcome.IMPLAUSIBLE_DATE,
]

# Why an issuance is held by its course's mapping. Facts of the mapping, which no issuance keeps.
HELD_BY_MAPPING = [Outcome.MAPPING_DISABLED, Outcome.NOT_OPEN, Outcome.PAST_WAITS]

MEANINGS: dict[str, Meaning] = {
    Outcome.ISSUED: Meaning(_("Navigatr issued the badge and sent the learner a mail."), NOTHING),
    Outcome.PERHAPS_TWICE: Meaning(
        _(
            "Navigatr issued the badge. An earlier attempt may have issued it too: Navigatr did not let the "
            "connection's account look."
        ),
        _("Look in Navigatr whether the learner has the badge twice, and revoke one if so."),
    ),
    Outcome.FOUND: Meaning(
        _("An earlier attempt had reached Navigatr: the badge was found there, so it was not sent again."), NOTHING
    ),
    Outcome.NOT_MET: Meaning(
        _("Navigatr did not issue the badge: it needs a minimum score or evidence that was not met."),
        _(
            "Check the course's completion criteria in Moodle and the badge's requirements in Navigatr. "
            "It is tried again when the learner's score changes; or use “Send again”."
        ),
    ),
    Outcome.BAD_SOURCE: Meaning(
        _("This badge cannot be issued through the API, mostly because it comes from Open University or Credly."),
        _("Change the course's mapping to a badge issued by Navigatr; what failed is then sent by itself."),
    ),
    Outcome.TOKEN_REFUSED: Meaning(
        _("Navigatr refused the token: it is invalid, expired or revoked. Everything for this connection waits."),
        _("Create a new Personal Access Token in Navigatr and reconnect; what waits then goes on by itself."),
    ),
    Outcome.FORBIDDEN: Meaning(
        _("The connection's account may not issue this badge."),
        _(
            "Make the account an administrator of the provider in Navigatr, and use “Send again”; or map the course to "
            "another provider's badge, and what failed is sent by itself."
        ),
    ),
    Outcome.NOT_FOUND: Meaning(
        _("Navigatr does not know this badge or provider any more."),
        _("Change the course's mapping to a current badge; what failed is then sent by itself."),
    ),
    Outcome.UNPUBLISHED: Meaning(
        _("The badge is unpublished, the provider is deactivated, or Navigatr found a field malformed."),
        _(
            "Publish the badge again in Navigatr, or change the course's mapping. What failed is then sent by itself, "
            "after a change in Navigatr within a day; “Send again” does it at once."
        ),
    ),
    Outcome.PROFILE_REFUSED: Meaning(
        _(
            "Navigatr does not accept the learner's first name, last name or e-mail address; the attempt names the "
            "field."
        ),
        _("Correct the learner's profile in Moodle; the badge is sent by itself after the next poll that sees it."),
    ),
    Outcome.REJECTED: Meaning(
        _("Navigatr refused the request for good."),
        _("Read Navigatr's reason in the attempt in the admin, mend its cause, then use “Send again”."),
    ),
    Outcome.RATE_LIMITED: Meaning(_("Navigatr asked for a pause: too many requests."), WAITS),
    Outcome.UNAVAILABLE: Meaning(_("Navigatr could not be reached, or asked to try later. Nothing was issued."), WAITS),
    Outcome.UNCLEAR: Meaning(
        _("The request was sent but no clear answer came back, so the badge may or may not have been issued."),
        _("Nothing to do: it is looked up in Navigatr before it is sent again."),
    ),
    Outcome.LEASE_RAN_OUT: Meaning(
        _("The worker stopped before it could write down the answer, so the badge may or may not have been issued."),
        _("Nothing to do: it is looked up in Navigatr before it is sent again."),
    ),
    Outcome.NOT_THERE: Meaning(_("Looked up in Navigatr: the earlier attempt issued nothing."), WAITS),
    Outcome.LOOKUP_FAILED: Meaning(_("Whether an earlier attempt had issued the badge could not be looked up."), WAITS),
    Outcome.LOOKUP_REFUSED: Meaning(
        _(
            "Navigatr does not let the connection's account see what has been issued, so whether an earlier attempt "
            "had issued the badge cannot be told. It is sent once more; a double cannot be excluded."
        ),
        _(
            "Make the account an administrator of the provider in Navigatr. Where this issuance has failed, look in "
            "Navigatr whether the learner has the badge, and only if not, use “Send again”."
        ),
    ),
    Outcome.PROFILE_INCOMPLETE: Meaning(
        _(
            "The learner's first name, last name or e-mail address is missing in Moodle, or cannot be one, as an "
            "address without a full domain; Navigatr needs all three."
        ),
        _("Complete the learner's profile in Moodle; the badge is then sent by itself after the next poll."),
    ),
    Outcome.LEARNER_DELETED: Meaning(_("The learner's account was deleted in Moodle, so nothing is sent."), NOTHING),
    Outcome.COMPLETION_UNDONE: Meaning(
        _("Moodle no longer has this completion: it was undone, or the course's completions were reset."),
        _("Nothing to do: it is sent when the learner completes the course again."),
    ),
    Outcome.COURSE_GONE: Meaning(
        _("The course was deleted in Moodle before the badge was sent."),
        _("Map the course that took its place. Badges that are owed can be issued in Navigatr by hand."),
    ),
    Outcome.IMPLAUSIBLE_DATE: Meaning(
        _("Moodle dates the completion in the future, or before Moodle existed, so it waits for a person."),
        _(
            "Correct the date in Moodle, and it is sent by itself. Or use “Send again” to issue the badge all the "
            "same; one dated in the future is then issued with the present date."
        ),
    ),
    Outcome.AWAITS_MOODLE: Meaning(
        _("It has waited so long that Moodle must confirm it before it is sent, and Moodle could not be asked."),
        _(
            "Nothing to do: Moodle is asked again every few minutes. If the site is switched off for good, use “Send "
            "again” to send it without asking."
        ),
    ),
    Outcome.NAMES_HIDDEN: Meaning(
        _("Moodle does not show the portal this learner's name or e-mail address. The learner's profile may be fine."),
        _(
            "Let the role of the portal's account see names and addresses: moodle/site:viewfullnames, "
            "moodle/user:viewdetails and moodle/site:viewuseridentity. The badge is then sent by itself."
        ),
    ),
    Outcome.LEARNER_SUSPENDED: Meaning(
        _("The learner's Moodle account is suspended, and this site does not issue to suspended accounts."),
        _("Nothing to do: it is sent when the account is active again. Or allow it in the Moodle site's settings."),
    ),
    Outcome.DUPLICATE_RECIPIENT: Meaning(
        _("Another learner with this address already has this badge, and Navigatr knows people by their address."),
        _(
            "Check in Moodle whether the two accounts are one person. If they are, nothing is to do; if not, give each "
            "its own address in Moodle, and the badge is sent by itself."
        ),
    ),
    Outcome.MAY_HOLD: Meaning(
        _("The same badge was sent to this learner for another course, and whether it arrived is not known."),
        _("Settle the other course's issuance first: look in Navigatr, or use “Send again” there. Then do so here."),
    ),
    Outcome.ALREADY_HOLDS: Meaning(
        _("The learner already has this badge, through another course. Each learner gets each badge once."), NOTHING
    ),
    Outcome.ELSEWHERE: Meaning(
        _("The course awards badges in another environment now, and the learner has an issuance there already."),
        NOTHING,
    ),
    Outcome.BELOW_MIN_SCORE: Meaning(
        _("The learner's score in Moodle is below the mapping's minimum score."),
        _("Nothing to do: it is tried again when the score changes. Or lower the mapping's minimum score."),
    ),
    Outcome.NO_SCORE: Meaning(
        _("The mapping asks for a minimum score, and Moodle has no score for the learner, or may not show it."),
        _(
            "Nothing to do when the grade is still to come. Otherwise check that the Moodle token may read grades, and "
            "in the gradebook whether the total has a grade: with hidden grades in it, Moodle may tell none."
        ),
    ),
    Outcome.SCORE_HIDDEN: Meaning(
        _(
            "The mapping asks for a minimum score, and the course total is hidden in Moodle, so the portal takes no "
            "score from it."
        ),
        _(
            "Show the course total in Moodle's gradebook, or lower or remove the mapping's minimum score; the badge is "
            "then sent by itself. The capability moodle/grade:viewhidden only lets the portal see a hidden total, "
            "which is still not sent."
        ),
    ),
    Outcome.GAVE_UP: Meaning(
        _("It was tried again and again without success, for as long as the settings say."),
        _("Check the connection and the attempts below, then use “Send again”."),
    ),
    Outcome.OUR_BUG: Meaning(
        _("The portal itself failed while it handled this badge."),
        _("Read the server's log, report the fault, then use “Send again”."),
    ),
    Outcome.CONNECTION_PAUSED: Meaning(
        _("The Navigatr connection is paused, so nothing is sent with it."),
        _("Its page says why. Reconnect it, with a new token if need be; what waits then goes on by itself."),
    ),
    Outcome.CONNECTION_REMOVED: Meaning(
        _("The Navigatr connection was removed."),
        _("Reconnect it with a new token; what waits then goes on by itself."),
    ),
    Outcome.MAPPING_DISABLED: Meaning(
        _("The course's mapping is disabled."), _("Enable the mapping again; what waits then goes on by itself.")
    ),
    Outcome.NOT_OPEN: Meaning(
        _("The course's Navigatr connection, or the badge's provider, is not open to this course any more."),
        _(
            "Open the connection to the course, or choose the badge again as a site admin; what waits then goes on by "
            "itself. Or choose a badge of another connection."
        ),
    ),
    Outcome.PAST_WAITS: Meaning(
        _(
            "The learner had completed the course before it awarded this badge. Earlier completions wait while they "
            "are counted, when there are more than a course manager may include, and when a site admin holds them."
        ),
        _(
            "Nothing to do while they are counted. Otherwise use “Release past completions” on the mapping's page; "
            "they are then sent by themselves."
        ),
    ),
    Outcome.MAPPING_REMOVED: Meaning(
        _("The course's mapping was removed before the badge was sent."),
        _("Nothing to do. To issue it after all, map the course again and include past completions."),
    ),
    Outcome.WENT_LIVE: Meaning(
        _(
            "The badge was to be sent to staging, for trying out. Before that the course went live, for completions "
            "from then on only."
        ),
        _("Nothing to do. “Send again” issues a real badge after all."),
    ),
    Outcome.ERASED: Meaning(_("The learner's personal data was erased. Nothing more is sent for them."), NOTHING),
    Outcome.BY_HAND: Meaning(_("A person cancelled it."), _("Nothing to do. “Send again” takes it back.")),
}

# Why nothing is sent while a question about the learner's Moodle site is open. The rows stay queued, so that what they
# wait for besides is not forgotten.
AWAITS_ANSWER = Meaning(
    _("The Moodle site looks like another one than before, so nothing is read from it and nothing is sent."),
    _("Answer the question on the Moodle site's page: is this still the same Moodle? Then it is sent by itself."),
)

# What "no score" is told as, which changes when a total is hidden or shown.
WITHOUT_SCORE = [Outcome.NO_SCORE, Outcome.SCORE_HIDDEN]

_BY_STATUS = {
    400: Outcome.BAD_SOURCE,
    403: Outcome.FORBIDDEN,
    404: Outcome.NOT_FOUND,
    422: Outcome.UNPUBLISHED,
}


# What Navigatr calls the fields that come from the learner's profile, and all fields that the portal sends.
_PROFILE_FIELDS = frozenset({"recipient_email", "recipient_firstname", "recipient_lastname"})
SENT_FIELDS = _PROFILE_FIELDS | {
    "badge_id", "provider_id", "issue_date", "score", "min_score", "evidence_text", "evidence_url",
}  # fmt: skip


def of_error(error: navigatr_client.NavigatrError) -> Outcome:
    """The outcome that one of the client's errors stands for."""
    match error:
        case navigatr_client.NavigatrTokenRefused():
            return Outcome.TOKEN_REFUSED
        case navigatr_client.NavigatrRequirementNotMet():
            return Outcome.NOT_MET
        case navigatr_client.NavigatrUnclear():
            return Outcome.UNCLEAR
        case navigatr_client.NavigatrRejected(status=422) if _PROFILE_FIELDS.intersection(error.fields):
            return Outcome.PROFILE_REFUSED
        case navigatr_client.NavigatrRejected():
            return _BY_STATUS.get(error.status or 0, Outcome.REJECTED)
        case _:
            return Outcome.RATE_LIMITED if error.status == 429 else Outcome.UNAVAILABLE
