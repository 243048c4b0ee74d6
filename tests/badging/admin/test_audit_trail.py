"""The audit trail in the admin."""

import pytest
from django.test import Client

from badging.models import AuditEntry

from .browsing import listed, page_of

pytestmark = pytest.mark.django_db


def test_a_change_of_the_feed_reads_as_sentences_in_the_audit(site_admin: Client) -> None:
    details = {"feed": "B", "before": "A", "reason": "Make the report."}
    entry = AuditEntry.objects.create(action="feed_changed", subject="Main", details=details)
    AuditEntry.objects.create(action="cancelled", subject="1 issuance(s)", details={"count": 1})
    told = "From “A: report feed” to “B: per learner”. Make the report."
    assert told in site_admin.get(listed("badging_auditentry")).content.decode()
    assert told in site_admin.get(page_of("badging_auditentry", entry.pk)).content.decode()
    assert "count: 1" in site_admin.get(listed("badging_auditentry")).content.decode()
