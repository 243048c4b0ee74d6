"""What counts as deleted in Moodle: the only rules for it.

See docs/moodle-api.md, "Suspended, deleted, undone".
"""

import re

from .client.errors import MoodleError, MoodleGone, MoodleLearnerGone, MoodleSomethingGone
from .client.records import CompletionStatus, EnrolledUser, User

# Moodle replaces the address of a deleted account by an MD5 hash. Any other text without an @ is an unusable address of
# an account that exists.
DELETED_ADDRESS = re.compile(r"[0-9a-f]{32}")

Status = CompletionStatus | MoodleError | None
Account = User | EnrolledUser | MoodleError | None


def has_deleted_address(email: str) -> bool:
    """Whether the e-mail address is that of a deleted account."""
    return DELETED_ADDRESS.fullmatch(email) is not None


def account_is_deleted(status: Status, account: Account) -> bool:
    """Whether the learner's account was deleted, by the answers for the completion and for the account.

    If the completion is "unknown" to Moodle, which may mean the course or the account, a visible account says that it
    is the course.
    """
    if isinstance(account, MoodleGone) or isinstance(status, MoodleLearnerGone):
        return True
    return isinstance(status, MoodleSomethingGone) and not isinstance(account, User | EnrolledUser)


def course_is_deleted(status: Status, account: Account) -> bool:
    """Whether the course was deleted, by the answers for a learner's completion and account."""
    if isinstance(status, MoodleSomethingGone):
        return not account_is_deleted(status, account)
    return isinstance(status, MoodleGone) and not isinstance(status, MoodleLearnerGone)
