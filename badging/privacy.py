"""Everything held about a person: shown to them, and erased for good.

`PERSONAL_RELATIONS` lists the tables with rows about a learner, and for each how they are found, shown and erased. The
export and the erasure both walk it, and tests fail when a model gains a relation to Learner that is not in it, or a
text column of which nobody has said whether it can hold a person's data (tests/badging/test_personal_fields.py).
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import Q

from moodle_sync.models import Completion, Course, Learner, MoodleSiteState
from vault import digests

from . import audit, transitions
from .meanings import Outcome
from .models import AttemptWords, AuditedIssuance, AuditEntry, Issuance, IssuanceAttempt, Unanswered, recipient_key

State = Issuance.State

# How many rows are deleted at once.
DELETED_AT_ONCE = 1000


class NobodyFound(Exception):
    """Nobody is known under this address."""


def find_learners(email: str) -> list[Learner]:
    """Everybody known under the address, in any Moodle site, and whoever was sent a badge at it. Raises NobodyFound."""
    if not email.strip():
        raise NobodyFound
    known = Learner.objects.filter(Q(pk__in=sent_to(email)) | Q(email_key=Learner.key_of(email)))
    found = list(known.select_related("site").order_by("pk"))
    if not found:
        raise NobodyFound
    return found


def sent_to(email: str) -> list[int]:
    """The ids of the learners who were sent a badge at this address, which may not be theirs in Moodle any more."""
    rows = Issuance.objects.perhaps_sent().exclude(recipient_key="")
    key = recipient_key(email, digests.in_use())
    return list(rows.filter(recipient_key=key).order_by().values_list("learner", flat=True).distinct())


def export_learners(learners: Iterable[Learner], *, actor: Any = None) -> dict[str, Any]:
    """All that is held about these people, as plain data for JSON. Times are ISO 8601, UTC."""
    people = []
    for learner in learners:
        person: dict[str, Any] = {"moodle_site": learner.site.name, **fields_of(learner)}
        for name, rows in PERSONAL_RELATIONS.items():
            person[name] = [rows.show(row) for row in rows.of(learner)]
        people.append(person)
        known_as = {"moodle_id": learner.moodle_id, "site": learner.site.name}
        audit.record(AuditEntry.Action.LEARNER_EXPORTED, f"learner {learner.pk}", actor=actor, **known_as)
    return {"learners": people}


@transaction.atomic
def erase_learner(learner: Learner, *, actor: Any = None, now: datetime) -> int:
    """Erase the person for good; returns how many waiting issuances were cancelled.

    The Moodle user id stays, so that the next poll recognises the person and does not bring them back; audit rows
    stay, they hold no personal data. What is on its way to Navigatr in this moment may still arrive there, and badges
    already issued live in Navigatr: erase them there too.
    """
    learner = Learner.objects.select_for_update().get(pk=learner.pk)
    learner.firstname = learner.lastname = learner.email = learner.email_key = ""
    learner.names_hidden = learner.suspended = learner.deleted = False
    learner.erased_at = learner.erased_at or now
    learner.save()
    cancelled = sum(relation.erase(learner) for relation in PERSONAL_RELATIONS.values())
    audit.record(
        AuditEntry.Action.LEARNER_ERASED, f"learner {learner.pk}", actor=actor, moodle_id=learner.moodle_id,
        cancelled=cancelled,
    )  # fmt: skip
    transaction.on_commit(empty_log, robust=True)
    return cancelled


def erased_among(issuances: Collection[int]) -> list[int]:
    """Those of these issuances, by number, whose learner is erased."""
    rows = Issuance.objects.filter(pk__in=issuances, learner__erased_at__isnull=False)
    return list(rows.order_by("pk").values_list("pk", flat=True))


def end_erased(pks: Collection[int]) -> int:
    """End those of these issuances whose learner is erased and that no worker has in hand; returns how many waited.

    What may have been sent can no longer be looked up without the address's digest, and is not sent again. What was
    issued stays so, without the number and the page that lead to the person's badge.
    """
    erased = erased_among(pks) if pks else []
    if not erased:
        return 0
    AttemptWords.objects.filter(attempt__issuance__in=erased).delete()
    rows = Issuance.objects.filter(pk__in=erased).exclude(state=State.SENDING)
    gone = list(rows.order_by("pk").values_list("pk", flat=True))
    cancelled = transitions.change(gone, transitions.Event.ERASE, reason=Outcome.ERASED)
    transitions.change(gone, transitions.Event.ERASE_ISSUED, reason=Outcome.ERASED)
    rows.update(recipient_key="", unanswered=Unanswered.NOTHING, assertion_id="", assertion_url="", score_tried=None)
    return cancelled


def remove_old_words(*, now: datetime) -> int:
    """Delete what others said longer than WORDS_KEPT ago; returns how many rows."""
    old = AttemptWords.objects.filter(at__lte=now - settings.WORDS_KEPT).order_by("at")
    count = 0
    while pks := list(old.values_list("pk", flat=True)[:DELETED_AT_ONCE]):
        count += AttemptWords.objects.filter(pk__in=pks).delete()[0]
    return count


def empty_log() -> None:
    """Move what SQLite's write-ahead log holds into the database file, and empty the log.

    Pages from before an erasure stand in it until then. While others read or write, as much is moved as is possible.
    """
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fields_of(row: models.Model) -> dict[str, Any]:
    """Every column of a row but the pointers to others, ready for JSON."""
    values = {}
    for column in row._meta.concrete_fields:
        if not column.is_relation:
            value = getattr(row, column.name)
            values[column.name] = value if isinstance(value, (str, int, bool, type(None))) else plain(value)
    return values


def plain(value: Any) -> Any:
    """Times as ISO 8601, scores as numbers (80, 59.5), the rest as text."""
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


@dataclass(frozen=True)
class Relation:
    """Tables with rows about a learner: how to find these rows, how to show one, and how to erase them.

    `models` are the tables that `show` and `erase` deal with. `erase` is called in a transaction, once the learner is
    marked as erased; it returns how many badges it cancelled.
    """

    models: tuple[type[models.Model], ...]
    of: Callable[[Learner], Iterable[Any]]
    show: Callable[[Any], dict[str, Any]]
    erase: Callable[[Learner], int]


def _completions_of(learner: Learner) -> Iterable[Completion]:
    return learner.completions.select_related("course").order_by("pk")


def _show_completion(row: Completion) -> dict[str, Any]:
    return {"course": str(row.course), **fields_of(row)}


def _erase_completions(learner: Learner) -> int:
    """Leave that there was a completion, which issuances point to, and nothing that Moodle said of it."""
    learner.completions.update(
        completed_at=None, time_source=Completion.TimeSource.UNKNOWN, completed_again_at=None, undone_at=None,
        score=None, score_hidden=False, score_read_at=None, implausible=False,
    )  # fmt: skip
    return 0


def _issuances_of(learner: Learner) -> Iterable[Issuance]:
    return learner.issuances.select_related("course").order_by("pk")


def _show_issuance(row: Issuance) -> dict[str, Any]:
    attempts = IssuanceAttempt.objects.filter(issuance=row).select_related("words").order_by("pk")
    audited = AuditedIssuance.objects.filter(issuance=row).select_related("entry").order_by("pk")
    return {
        "course": str(row.course),
        **fields_of(row),
        "attempts": [_show_attempt(attempt) for attempt in attempts],
        # What was done to it by hand. By whom is about another person.
        "by_hand": [{"at": plain(one.entry.at), "action": one.entry.action} for one in audited],
    }


def _show_attempt(row: IssuanceAttempt) -> dict[str, Any]:
    return {**fields_of(row), "detail": row.detail, "looked_up": row.looked_up}


def _erase_issuances(learner: Learner) -> int:
    own = Issuance.objects.filter(learner=learner).order_by("pk")
    # Locked, so that none of them comes back from a worker between the changes made here.
    return end_erased(list(own.select_for_update().values_list("pk", flat=True)))


def _lists_with(learner: Learner) -> list[Course]:
    """The courses whose lists of untracked participants name the learner.

    Few sites have such lists at all, and JSON is asked for its elements in each database differently.
    """
    lists = Course.objects.filter(site=learner.site_id).exclude(untracked=[]).order_by("pk")
    return [course for course in lists.only("pk", "fullname", "untracked") if learner.moodle_id in course.untracked]


def _show_list(row: Course) -> dict[str, Any]:
    return {"course": str(row)}


def _erase_from_lists(learner: Learner) -> int:
    chosen = [course.pk for course in _lists_with(learner)]
    for course in Course.objects.filter(pk__in=chosen).order_by("pk").select_for_update(no_key=True):
        course.untracked = [user_id for user_id in course.untracked if user_id != learner.moodle_id]
        course.save(update_fields=["untracked"])
    return 0


def _problems_with(learner: Learner) -> list[MoodleSiteState]:
    states = MoodleSiteState.objects.filter(site=learner.site_id, error__contains=str(learner.moodle_id))
    return [state for state in states if _names(learner, state.error)]


def _names(learner: Learner, text: str) -> bool:
    """Whether the text names the learner by the Moodle user id."""
    return re.search(rf"(?<!\d){learner.moodle_id}(?!\d)", text) is not None


def _show_problem(row: MoodleSiteState) -> dict[str, Any]:
    return {"what_is_wrong": row.error}


def _erase_problems(learner: Learner) -> int:
    """Take the lines that name the learner out of what is wrong with their site; the next poll writes it anew."""
    for state in _problems_with(learner):
        lines = [line for line in state.error.splitlines() if not _names(learner, line)]
        MoodleSiteState.objects.filter(pk=state.pk, error=state.error).update(error="\n".join(lines))
    return 0


# In the order in which their rows are locked: completions, courses and sites, issuances.
PERSONAL_RELATIONS: dict[str, Relation] = {
    "completions": Relation((Completion,), _completions_of, _show_completion, _erase_completions),
    "not_tracked_in": Relation((Course,), _lists_with, _show_list, _erase_from_lists),
    "named_in_problems": Relation((MoodleSiteState,), _problems_with, _show_problem, _erase_problems),
    "issuances": Relation(
        (Issuance, IssuanceAttempt, AttemptWords, AuditedIssuance), _issuances_of, _show_issuance, _erase_issuances
    ),
}
