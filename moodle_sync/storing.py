"""Stores a batch: learners, completions, and how far the reading has come."""

from collections.abc import Sequence
from datetime import timedelta

from .client.errors import MoodleNotTracked
from .client.records import CompletionStatus, Grade, LearnerFacts, User
from .completing import Completed, Key, is_again, stored_rows
from .deletion import account_is_deleted, course_is_deleted, has_deleted_address
from .models import Completion, Course, Learner, MoodleSiteState
from .reading import Batch, Poll, Seen, Stored
from .times import is_implausible

# `confirmed_at` is not written again while it is younger than this.
CONFIRM_EVERY = timedelta(minutes=30)
# How many learners one query names.
ASKED_AT_ONCE = 1000
# The length of the columns of names and addresses.
LONGEST_NAME = 255

# The fields of a course that a batch's bookmarks write.
BOOKMARKS = ["error", "untracked", "next_offset", "reading_since", "asks_everybody", "read_at"]
# The fields of a completion that a batch may change.
COMPLETION_FIELDS = [
    "completed_at", "time_source", "completed_again_at", "score", "score_hidden", "score_read_at", "confirmed_at",
    "undone_at", "implausible",
]  # fmt: skip


def store(poll: Poll, batch: Batch, completed: Completed) -> Stored:
    """Store one batch and move the reading on. The caller opens the transaction."""
    _leave_out_erased(poll, batch.bookmarks)
    learners, changed_learners = _store_learners(poll, completed)
    stored = _store_completions(poll, batch, completed, learners)
    stored.changed_learners.extend([*changed_learners, *_mark_deleted(poll, batch)])
    _move_on(poll, batch)
    return stored


def _store_learners(poll: Poll, completed: Completed) -> tuple[dict[int, Learner], list[int]]:
    """Create or update a row for each person; returns the rows by Moodle id, and the keys of the changed ones.

    Erased learners stay empty.
    """
    people = profiles(completed.seen, completed.facts)
    rows = poll.site.learners.select_for_update()
    known = {row.moodle_id: row for row in rows.filter(moodle_id__in=people)}
    new = [
        Learner(site=poll.site, moodle_id=user_id, **fields)
        for user_id, fields in people.items()
        if user_id not in known
    ]
    changed = []
    for user_id, row in known.items():
        different = {name: value for name, value in people[user_id].items() if not is_same(getattr(row, name), value)}
        if row.erased_at is None and different:
            for name, value in different.items():
                setattr(row, name, value)
            row.save(update_fields=[*different, "search_name"])
            changed.append(row.pk)
    known |= {row.moodle_id: row for row in Learner.objects.bulk_create(new)}
    return known, changed


def _mark_deleted(poll: Poll, batch: Batch) -> list[int]:
    """Mark the learners whose accounts were deleted; returns the keys of the changed rows."""
    if not batch.gone:
        return []
    rows = poll.site.learners.filter(moodle_id__in=batch.gone, deleted=False, erased_at=None)
    keys = list(rows.values_list("pk", flat=True))
    Learner.objects.filter(pk__in=keys).update(deleted=True)
    return keys


def is_same(stored: object, seen: object) -> bool:
    """Whether a field is unchanged. The report does not distinguish "&#039;" from an apostrophe."""
    if isinstance(stored, str) and isinstance(seen, str):
        return stored.replace("&#039;", "'") == seen.replace("&#039;", "'")
    return stored == seen


def _store_completions(poll: Poll, batch: Batch, completed: Completed, learners: dict[int, Learner]) -> Stored:
    """Create or update a row for each completion, except for those of erased learners."""
    known = stored_rows(poll, completed.seen)
    before = {row.pk: (_values(row), _badge_facts(row)) for row in known.values()}
    new, updated, wanted, again = [], [], [], []
    for seen in completed.seen:
        learner = learners[seen.user_id]
        if learner.erased_at is not None:
            continue
        row = known.get(seen.key)
        if row is None:
            row = Completion(course=seen.course, learner=learner, seen_at=poll.now, confirmed_at=poll.now)
            row.completed_at, row.time_source = seen.completed_at, seen.source
            new.append(row)
        else:
            # on_stored needs the course's site and the learner: this avoids a query for each row.
            row.course, row.learner = seen.course, learner
            updated.append(row)
            if _set_time(row, seen):
                again.append(row.pk)
            if seen.shown:
                _confirm(poll, row)
        _set_facts(poll, row, completed, seen.key)
        if poll.wanted[seen.course.pk].wants(row.last_completed_at) and row.undone_at is None:
            wanted.append(row)
    changed = [row.pk for row in updated if batch.ask_all or _badge_facts(row) != before[row.pk][1]]
    # Badges that wait for an answer are looked at again even without a change, in case a change was missed.
    asked_learners = [row.learner_id for row in known.values()] if batch.ask_all else []
    Completion.objects.bulk_create(new)
    Completion.objects.bulk_update([row for row in updated if _values(row) != before[row.pk][0]], COMPLETION_FIELDS)
    return Stored(wanted, len(new), [], changed, again, asked_learners)


def _values(row: Completion) -> dict[str, object]:
    return {name: getattr(row, name) for name in COMPLETION_FIELDS}


def _badge_facts(row: Completion) -> tuple[object, ...]:
    """The values of a completion that may hold its badge or release it."""
    return row.undone_at is not None, row.implausible, row.score, row.score_hidden


def _set_time(row: Completion, seen: Seen) -> bool:
    """Set the time of a later completion, or correct an implausible one; returns whether it was completed again.

    A known time is kept, since a badge may state it, and the later time is set beside it.
    """
    is_later = is_again(row, seen)
    if is_later and row.completed_at is not None:
        row.completed_again_at = seen.completed_at
    elif is_later or (row.implausible and seen.completed_at is not None and not seen.doubtful):
        row.completed_at, row.time_source = seen.completed_at, seen.source
    return is_later and row.completed_again_at is not None


def _confirm(poll: Poll, row: Completion) -> None:
    """Moodle shows the completion, so it is not undone.

    If suspended accounts are held back this is no confirmation, since it does not say whether the account is suspended.
    """
    row.undone_at = None
    if poll.site.send_suspended and row.confirmed_at <= poll.now - CONFIRM_EVERY:
        row.confirmed_at = poll.now


def _set_facts(poll: Poll, row: Completion, completed: Completed, key: Key) -> None:
    """Set what Moodle said about this learner and course, if it was asked."""
    row.implausible = is_implausible(row.completed_at, poll.now, poll.state.clock_skew)
    facts = completed.facts.get(key)
    if facts is None:
        return
    status = facts.status
    undone = isinstance(status, CompletionStatus) and not status.completed
    if undone or course_is_deleted(status, facts.user):
        row.undone_at = row.undone_at or poll.now
    elif isinstance(status, CompletionStatus | MoodleNotTracked):
        # Learners who left the course after completing it, or are not confirmed yet, still get the badge.
        row.undone_at = None
    if key not in completed.asked_keys:
        return
    row.confirmed_at = poll.now
    row.score_read_at = poll.now
    if facts.grade is not None:
        grade = facts.grade if isinstance(facts.grade, Grade) else Grade(None)
        row.score, row.score_hidden = grade.share, grade.hidden or grade.total_missing


def _move_on(poll: Poll, batch: Batch) -> None:
    """Move the bookmarks of courses and site, in the same transaction as what was read up to there."""
    for course in batch.whole:
        # The start of the reading: past completions that somebody asked for since then are read again.
        course.past_read_at = course.read_at = course.reading_since or poll.now
        course.error, course.reading_since = "", None
    Course.objects.bulk_update(batch.whole, ["past_read_at", "read_at", "error", "reading_since"])
    if batch.bookmarks:
        Course.objects.bulk_update(batch.bookmarks, BOOKMARKS)
    if batch.state:
        poll.set_state(batch.state)
        MoodleSiteState.objects.filter(pk=poll.state.pk).update(**batch.state)


def _leave_out_erased(poll: Poll, courses: Sequence[Course]) -> None:
    """Take learners who were erased since the reading began out of the lists of untracked participants."""
    for course in courses:
        erased: set[int] = set()
        for start in range(0, len(course.untracked), ASKED_AT_ONCE):
            ids = course.untracked[start : start + ASKED_AT_ONCE]
            # Locked: an erasure that is under way is waited for, and one that comes later finds the list as stored.
            rows = poll.site.learners.filter(moodle_id__in=ids).order_by("pk").select_for_update()
            erased |= {row.moodle_id for row in rows if row.erased_at is not None}
        course.untracked = [user_id for user_id in course.untracked if user_id not in erased]


def profiles(batch: Sequence[Seen], facts: dict[Key, LearnerFacts]) -> dict[int, dict[str, str | bool]]:
    """The known fields of each learner in a batch, by Moodle user id."""
    people: dict[int, dict[str, str | bool]] = {}
    for seen in batch:
        people.setdefault(seen.user_id, {}).update(profile(seen, facts.get(seen.key)))
    return people


def profile(seen: Seen, facts: LearnerFacts | None) -> dict[str, str | bool]:
    """The known fields of a learner; unknown ones are missing.

    The account takes precedence over the feed, whose names may be escaped.
    """
    user = facts.user if facts else None
    fields: dict[str, str | bool] = {}
    if isinstance(user, User):
        fields |= names_of(user)
        fields["suspended"] = user.suspended
        fields["names_hidden"] = None in (user.firstname, user.lastname, user.email)
    else:
        fields |= _names(seen.firstname, seen.lastname, seen.email)
        if seen.email is not None or seen.names_hidden:
            fields["names_hidden"] = seen.names_hidden
    if facts and account_is_deleted(facts.status, facts.user):
        fields["deleted"] = True
    return fields


def names_of(user: User) -> dict[str, str | bool]:
    """The fields of a learner that an account has."""
    return _names(user.firstname, user.lastname, user.email)


def _names(firstname: str | None, lastname: str | None, email: str | None) -> dict[str, str | bool]:
    fields: dict[str, str | bool] = {}
    if firstname is not None:
        fields["firstname"] = fitting(firstname, LONGEST_NAME)
    if lastname is not None:
        fields["lastname"] = fitting(lastname, LONGEST_NAME)
    if email is not None:
        address = fitting(email.strip(), LONGEST_NAME + 1)
        fields["deleted"] = has_deleted_address(address)
        if not fields["deleted"]:
            # A shortened address would be somebody else's. Moodle's own have at most 100 characters.
            fields["email"] = address if len(address) <= LONGEST_NAME else ""
            fields["email_key"] = Learner.key_of(str(fields["email"]))
    return fields


def fitting(text: str, longest: int) -> str:
    """The text without characters that a database refuses (NUL, lone surrogates), cut to `longest` characters."""
    return text.replace("\0", "").encode(errors="replace").decode()[:longest]
