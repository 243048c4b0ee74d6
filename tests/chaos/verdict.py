"""What a run came to: Navigatr's own ledger against the portal's tables."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from badging.meanings import Outcome
from badging.models import Issuance, IssuanceAttempt
from badging.status import status

# A course's Moodle id and a learner's.
Pair = tuple[int, int]

_LEARNER = re.compile(r"learner(\d+)\b")
_ISSUE = re.compile(r"/badge/(\d+)/issue")


@dataclass(frozen=True)
class Verdict:
    """Counts, and a line for each completion that something is wrong with."""

    completions: int
    badges: int
    calls: int
    lost: int
    doubled: int
    audit_missing: int
    off_by: int
    longest_delay: float
    wrong: list[str]

    @property
    def passed(self) -> bool:
        """Nothing lost, nothing doubled, nothing untold, and `status` adds up to the completions that were taken up."""
        return (self.lost, self.doubled, self.audit_missing, self.off_by) == (0, 0, 0, 0)


def compare(
    *,
    owed: Mapping[Pair, float],
    erased: Collection[int],
    course_of_badge: Mapping[int, int],
    assertions: list[dict[str, Any]],
    ledger: list[dict[str, Any]],
) -> Verdict:
    """Compare what Navigatr issued, and what it was asked, with what the portal says.

    `owed`: when each learner completed each course; `erased`: Moodle ids of learners of whom nothing is owed any more,
    though what was on its way may have arrived. `assertions` and `ledger`: as the sandbox's control calls tell them.
    """

    def pair_of(badge_id: int, email: str) -> Pair:
        found = _LEARNER.match(email)
        return course_of_badge[badge_id], int(found[1]) if found else 0

    issued = Counter(pair_of(row["badge_id"], row["recipient_email"]) for row in assertions)
    ids = {str(row["id"]): pair_of(row["badge_id"], row["recipient_email"]) for row in assertions}
    asked = Counter(
        pair_of(int(found[1]), entry["body"]["recipient_email"])
        for entry in ledger
        if entry["method"] == "PUT" and (found := _ISSUE.fullmatch(entry["path"]))
    )
    rows = {
        (row.course.moodle_id, row.learner.moodle_id): row
        for row in Issuance.objects.select_related("course", "learner")
    }
    told: Counter[Pair] = Counter()
    ended_well: set[Pair] = set()
    for course, learner, outcome in IssuanceAttempt.objects.filter(
        kind__in=[IssuanceAttempt.Kind.SEND, IssuanceAttempt.Kind.LOOKUP]
    ).values_list("issuance__course__moodle_id", "issuance__learner__moodle_id", "outcome"):
        if outcome in (Outcome.ISSUED, Outcome.PERHAPS_TWICE, Outcome.FOUND):
            ended_well.add((course, learner))
    for course, learner in IssuanceAttempt.objects.filter(kind=IssuanceAttempt.Kind.SEND).values_list(
        "issuance__course__moodle_id", "issuance__learner__moodle_id"
    ):
        told[course, learner] += 1
    wrong = []
    lost = doubled = untold = 0
    longest = 0.0
    for pair in sorted(owed.keys() | issued.keys() | asked.keys()):
        row = rows.get(pair)
        where = f"issuance {row.pk}: {row.state} {row.reason}" if row else "no issuance"
        has_it = row is not None and row.state == Issuance.State.ISSUED and ids.get(row.assertion_id) == pair
        if has_it and row is not None and row.issued_at is not None:
            longest = max(longest, row.issued_at.timestamp() - owed[pair])
        if not has_it and pair[1] not in erased:
            lost += 1
            wrong.append(f"{where}; lost, with {issued[pair]} badge(s) in Navigatr")
        more = issued[pair] - (1 if pair in owed else 0)
        if more > 0:
            doubled += more
            wrong.append(f"{where}; {issued[pair]} badges in Navigatr")
        missing = max(0, asked[pair] - told[pair]) + (has_it and pair not in ended_well)
        if missing:
            untold += missing
            wrong.append(f"{where}; {asked[pair]} call(s), {told[pair]} told by the audit")
    off_by = status(timezone.now())["owed"] - len(rows.keys() & owed.keys())
    return Verdict(len(owed), len(assertions), sum(asked.values()), lost, doubled, untold, off_by, longest, wrong)
