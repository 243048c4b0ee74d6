"""Every action of the audit trail reads as a sentence, with all that was noted."""

import re
from typing import Any

import pytest
from django.db import connection as database

from badging.audit_search import entries_matching
from badging.models import AuditEntry
from badging.sentences import SENTENCES, sentence

pytestmark = pytest.mark.django_db
Action = AuditEntry.Action


def entry(action: str, subject: str = "Fire Safety", who: str = "ann", **details: Any) -> AuditEntry:
    return AuditEntry.objects.create(action=action, subject=subject, actor_name=who, details=details)


def test_every_action_has_a_sentence_that_names_what_it_is_about() -> None:
    assert set(Action) <= set(SENTENCES)
    for action in Action:
        told = sentence(entry(action, "Fire 100%", min_score=None, tag="x"))
        assert re.fullmatch(r"[^{}_]*Fire 100%[^{}_]*\. Tag: x\.", told), told


@pytest.mark.parametrize(
    ("action", "details", "told"),
    [
        ("mapping_saved", {"badge": 5, "badge_name": "First Aid", "provider": 11, "min_score": 60, "moved": 2},
         "ann chose a badge for the course Fire Safety. Badge: First Aid (5). Provider: #11. Minimum score: 60. "
         "Badges queued again: 2."),
        ("connection_opened", {"to": "manager", "user": 3, "manager": "mina"},
         "ann opened the connection Fire Safety. Open to: A course manager, for all courses of theirs. "
         "Course manager: mina."),
        ("connection_saved", {"changed": {"timeout": 5, "send_score": False}},
         "ann saved the connection Fire Safety. Changed: time-out in seconds: 5, send the score: no."),
        ("roles_changed", {"from": [], "to": ["Site admins"]},
         "ann changed what Fire Safety may do. Before: no role. Now: Site admins."),
        ("sent_again", {"count": 2, "issuances": [7, 9]}, "ann sent again by hand: Fire Safety. Issuances: #7, #9."),
        ("feed_changed", {"feed": "B", "before": "A", "reason": "Make the report."},
         "The portal reads the site Fire Safety in another way. From “A: report feed” to “B: per learner”. "
         "Make the report."),
        ("bulk_started", {"kind": "send_again", "reason": "unpublished", "total": 3},
         "ann started a background action: Fire Safety. Action: Send again."
         " Reason: Badge unpublished or provider deactivated. Total: 3."),
        ("bulk_ended", {"kind": "cancel", "reason": ""},
         "A background action of ann ended: Fire Safety. Action: Cancel."),
        ("bulk_failed", {"kind": "look_up", "reason": ""},
         "A background action was given up after faults: Fire Safety. Action: Look up again."),
        ("group_changed", {"added": ["badging.view_issuance"], "removed": ["auth.add_group", "gone.by_now"]},
         "ann changed the role Fire Safety. Permissions added: Can view issuance. "
         "Permissions removed: Can add group, gone.by_now."),
        ("group_changed", {"added": [f"badging.add_{number}" for number in range(100)], "removed": []},
         "ann changed the role Fire Safety. Permissions added: 100."),
        ("roles_changed", {"added": ["badging.view_issuance"], "removed": []},
         "ann changed what Fire Safety may do. Permissions added: Can view issuance."),
        ("from_a_newer_portal", {}, "ann: from_a_newer_portal (Fire Safety)."),
    ],
)  # fmt: skip
def test_what_was_noted_is_told_in_words(action: str, details: dict[str, Any], told: str) -> None:
    assert sentence(entry(action, **details)) == told


def test_entries_are_found_by_words_in_any_order() -> None:
    ann = entry(Action.MAPPING_SAVED, "Fire Safety (F1 · id 42 · North)", badge=5, badge_name="Évacuation")
    mina = entry(Action.MANAGER_GRANTED, "mina.okafor", course="Fire Safety (F1 · id 42 · North)")
    erased = entry(Action.LEARNER_ERASED, "learner 8", "officer", moodle_id=4711)
    other = entry(Action.LEARNER_ERASED, "learner 9", "officer", moodle_id=14711)
    for words, found in (
        ("ann safety", [ann, mina]), ("SAFETY fire", [ann, mina]), ("Mina.O", [mina]), ("okafor", [mina]),
        ("course manager added fire", [mina]), ("erased learner 4711", [erased]), ("(id 4711)", [erased]),
        ("4711", [erased]), ("learner", [erased, other]), ("471", []), ("évac", [ann]), ("afety", []),
        ("nobody ann", []), ("%", []), ("'); --", []), ("zz:* | ann", []),
    ):  # fmt: skip
        rows = entries_matching(AuditEntry.objects.all(), words)
        assert sorted(rows.values_list("pk", flat=True)) == [row.pk for row in found], words


def test_the_search_and_the_filters_read_their_indexes() -> None:
    if database.vendor != "postgresql":
        # SQLite searches all entries: its portals are small.
        return
    found = entries_matching(AuditEntry.objects.order_by(), "mina")
    by_person = AuditEntry.objects.filter(actor_name="mina")
    with database.cursor() as cursor:
        # So few rows would be read without an index, or in their order.
        cursor.execute("SET LOCAL enable_seqscan = off")
        assert "audit_by_words" in found.explain()
        assert "audit_by_actor" in by_person.explain()
