"""Writes down what a feed has seen and Moodle has said: learners and completions, one batch in one transaction."""

import re
from collections.abc import Sequence
from datetime import timedelta

from .client.errors import MoodleGone, MoodleLearnerGone, MoodleNotTracked, MoodleSomethingGone
from .client.records import CompletionStatus, Grade, LearnerFacts, User
from .completing import Completed, Key, is_again
from .models import Completion, Course, Learner, MoodleSiteState
from .reading import Batch, Poll, Seen, Stored
from .times import is_implausible

# What Moodle puts in the place of a deleted account's address (WEB_SERVICES.md, trap 4). Any other text without an @ is
# an address that cannot be used, of a person who is there.
DELETED_ADDRESS = re.compile(r"[0-9a-f]{32}")
# A confirmation younger than this need not be written anew.
CONFIRM_EVERY = timedelta(minutes=30)

BOOKMARKS = ["error", "untracked", "next_offset", "reading_since", "asks_everybody", "read_at"]
COMPLETION_FIELDS = [
    "completed_at", "time_source", "completed_again_at", "score", "score_hidden", "score_read_at", "confirmed_at",
    "undone_at", "implausible",
]  # fmt: skip


def store(poll: Poll, batch: Batch, completed: Completed) -> Stored:
    """Write one batch, with what moves the reading on; the caller's transaction holds it together."""
    learners, changed_learners = _store_learners(poll, completed)
    stored = _store_completions(poll, batch, completed, learners)
    stored.changed_learners.extend([*changed_learners, *_mark_gone(poll, batch)])
    _move_on(poll, batch)
    return stored


def _store_learners(poll: Poll, completed: Completed) -> tuple[dict[int, Learner], list[int]]:
    """Make or update a row for each person; erased ones stay blank. Returns them by Moodle id, and the changed."""
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
            row.save(update_fields=list(different))
            changed.append(row.pk)
    known |= {row.moodle_id: row for row in Learner.objects.bulk_create(new)}
    return known, changed


def _mark_gone(poll: Poll, batch: Batch) -> list[int]:
    """Note which accounts were deleted in Moodle: nothing is sent to them any more."""
    gone = poll.site.learners.filter(moodle_id__in=batch.gone, deleted=False) if batch.gone else Learner.objects.none()
    numbers = list(gone.values_list("pk", flat=True))
    Learner.objects.filter(pk__in=numbers).update(deleted=True)
    return numbers


def is_same(kept: object, now: object) -> bool:
    """Whether a field is as it was. Of "&#039;" the report does not tell whether it was stored so."""
    if isinstance(kept, str) and isinstance(now, str):
        return kept.replace("&#039;", "'") == now.replace("&#039;", "'")
    return kept == now


def _store_completions(
    poll: Poll,
    batch: Batch,
    completed: Completed,
    learners: dict[int, Learner],
) -> Stored:
    """Make or update a row for each completion; returns those that count, and what became of the known ones."""
    known = {
        (row.course_id, row.learner.moodle_id): row
        for row in Completion.objects.filter(
            course__in={one.course.pk for one in completed.seen}, learner__in=[row.pk for row in learners.values()]
        ).select_related("learner")
    }
    new, updated, wanted, changed, again = [], [], [], [], []
    for one in completed.seen:
        learner = learners[one.user_id]
        if learner.erased_at is not None:
            continue
        row = known.get(one.key)
        if row is None:
            row = Completion(course=one.course, learner=learner, seen_at=poll.now, confirmed_at=poll.now)
            row.completed_at, row.time_source = one.completed_at, one.source
            _note_facts(poll, row, completed, one.key)
            new.append(row)
        else:
            # The caller asks for the course's site: without this, one query for each row.
            row.course, row.learner = one.course, learner
            before, held_before = _values(row), _what_matters(row)
            if is_again(row, one):
                _note_time(row, one)
                if row.completed_again_at is not None:
                    again.append(row.pk)
            elif row.implausible and one.completed_at is not None and not one.doubtful:
                row.completed_at, row.time_source = one.completed_at, one.source
            if one.shown:
                _confirm(poll, row)
            _note_facts(poll, row, completed, one.key)
            if _values(row) != before:
                updated.append(row)
            if batch.ask_all or _what_matters(row) != held_before:
                changed.append(row.pk)
        if poll.wanted[one.course.pk].wants(row.last_completed_at) and row.undone_at is None:
            wanted.append(row)
    # Whatever waits for one of those asked about is looked at again, in case it was missed when it changed.
    people = [row.learner_id for row in known.values()] if batch.ask_all else []
    Completion.objects.bulk_create(new)
    Completion.objects.bulk_update(updated, COMPLETION_FIELDS)
    return Stored(wanted, len(new), people, changed, again)


def _values(row: Completion) -> dict[str, object]:
    return {name: getattr(row, name) for name in COMPLETION_FIELDS}


def _what_matters(row: Completion) -> tuple[object, ...]:
    """What of a completion may hold its badge back or let it go."""
    return row.undone_at is not None, row.implausible, row.score, row.score_hidden


def _note_time(row: Completion, seen: Seen) -> None:
    """A later time goes beside the one on file, which a badge may say already; a first one takes its place."""
    if row.completed_at is None:
        row.completed_at, row.time_source = seen.completed_at, seen.source
    else:
        row.completed_again_at = seen.completed_at


def _confirm(poll: Poll, row: Completion) -> None:
    """Moodle shows it, so it stands. Whether the account is suspended that does not tell."""
    row.undone_at = None
    if poll.site.send_suspended and row.confirmed_at <= poll.now - CONFIRM_EVERY:
        row.confirmed_at = poll.now


def _note_facts(poll: Poll, row: Completion, completed: Completed, key: Key) -> None:
    """What Moodle said when it was asked about this learner and course."""
    row.implausible = is_implausible(row.completed_at, poll.now, poll.state.clock_skew)
    facts = completed.facts.get(key)
    if facts is None:
        return
    status = facts.status
    if (isinstance(status, CompletionStatus) and not status.completed) or _course_is_gone(facts):
        row.undone_at = row.undone_at or poll.now
    elif isinstance(status, CompletionStatus | MoodleNotTracked):
        # Who has left the course since, or is not confirmed yet, is owed the badge all the same.
        row.undone_at = None
    if key not in completed.asked:
        return
    row.confirmed_at = poll.now
    row.score_read_at = poll.now
    if facts.grade is not None:
        grade = facts.grade if isinstance(facts.grade, Grade) else Grade(None)
        row.score, row.score_hidden = grade.share, grade.hidden or grade.total_missing


def _course_is_gone(facts: LearnerFacts) -> bool:
    """Whether the course itself does not exist any more."""
    if isinstance(facts.status, MoodleSomethingGone):
        return not _learner_is_gone(facts)
    return isinstance(facts.status, MoodleGone) and not isinstance(facts.status, MoodleLearnerGone)


def _learner_is_gone(facts: LearnerFacts) -> bool:
    """Whether the account was deleted. Of what is "unknown" the account's own answer says whether it is the account."""
    if isinstance(facts.user, MoodleGone) or isinstance(facts.status, MoodleLearnerGone):
        return True
    return isinstance(facts.status, MoodleSomethingGone) and not isinstance(facts.user, User)


def _move_on(poll: Poll, batch: Batch) -> None:
    """Move the bookmarks of courses and site, in the same transaction as what was read up to there."""
    for course in batch.whole:
        # Whoever asked for its past meanwhile has it read again.
        course.past_read_at = course.read_at = course.reading_since or poll.now
        course.error, course.reading_since = "", None
    Course.objects.bulk_update(batch.whole, ["past_read_at", "read_at", "error", "reading_since"])
    if batch.bookmarks:
        Course.objects.bulk_update(batch.bookmarks, BOOKMARKS)
    if batch.state:
        poll.move(batch.state)
        MoodleSiteState.objects.filter(pk=poll.state.pk).update(**batch.state)


def profiles(seen: Sequence[Seen], facts: dict[Key, LearnerFacts]) -> dict[int, dict[str, str | bool]]:
    """The fields of each person seen, by Moodle user id, as far as they are known."""
    people: dict[int, dict[str, str | bool]] = {}
    for one in seen:
        people.setdefault(one.user_id, {}).update(profile(one, facts.get(one.key)))
    return people


def profile(seen: Seen, facts: LearnerFacts | None) -> dict[str, str | bool]:
    """The learner's fields as far as they are told; what was left out is left alone.

    The account itself is right against the feed, which may show it escaped.
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
    if facts and _learner_is_gone(facts):
        fields["deleted"] = True
    return fields


def names_of(user: User) -> dict[str, str | bool]:
    """The learner's fields that an account tells."""
    return _names(user.firstname, user.lastname, user.email)


def _names(firstname: str | None, lastname: str | None, email: str | None) -> dict[str, str | bool]:
    fields: dict[str, str | bool] = {}
    if firstname is not None:
        fields["firstname"] = fitting(firstname, 255)
    if lastname is not None:
        fields["lastname"] = fitting(lastname, 255)
    if email is not None:
        address = fitting(email.strip(), 256)
        fields["deleted"] = bool(DELETED_ADDRESS.fullmatch(address))
        if not fields["deleted"]:
            # Half an address would be somebody else's; Moodle's own are at most 100 characters long.
            fields["email"] = address if len(address) <= 255 else ""
            fields["email_key"] = Learner.key_of(str(fields["email"]))
    return fields


def fitting(text: str, longest: int) -> str:
    """The text without what no database takes (NUL, half characters), cut to length."""
    return text.replace("\0", "").encode(errors="replace").decode()[:longest]
