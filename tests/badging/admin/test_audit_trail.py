"""The audit trail in the admin."""

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext

from badging.models import AuditEntry

from .browsing import listed, page_of, rows_shown, search

pytestmark = pytest.mark.django_db


def test_a_change_of_the_feed_reads_as_sentences_in_the_audit(site_admin: Client) -> None:
    details = {"feed": "B", "before": "A", "reason": "Make the report."}
    entry = AuditEntry.objects.create(action="feed_changed", subject="Main", details=details)
    AuditEntry.objects.create(action="cancelled", subject="1 issuance(s)", details={"count": 1})
    told = "From “A: report feed” to “B: per learner”. Make the report."
    assert told in site_admin.get(listed("badging_auditentry")).content.decode()
    assert told in site_admin.get(page_of("badging_auditentry", entry.pk)).content.decode()
    assert "count: 1" in site_admin.get(listed("badging_auditentry")).content.decode()


def test_entries_are_found_by_the_beginning_of_who_or_of_what(site_admin: Client) -> None:
    made = AuditEntry.objects.create(action="signed_in", subject="Mina", actor_name="mina.okafor")
    other = AuditEntry.objects.create(action="mapping_saved", subject="Fire Safety (North)", actor_name="admin")
    name = "badging_auditentry"
    for words, found in (
        ("Mina.O", [made]), ("okafor", []), ("fire safety", [other]), ("Safety", []), (" ADM ", [other]), ("m", [made]),
        ("%", []),
    ):  # fmt: skip
        assert rows_shown(search(site_admin, name, words)) == [row.pk for row in found], words


def test_the_search_reads_its_indexes(site_admin: Client) -> None:
    with CaptureQueriesContext(database) as seen:
        search(site_admin, "badging_auditentry", "mina")
    queries = [row["sql"] for row in seen if "LIKE" in row["sql"] and "ORDER BY" in row["sql"]]
    assert queries
    if database.vendor == "postgresql":
        with database.cursor() as cursor:
            # So few rows would be read without an index, or in their order. SQLite has no such index.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_indexscan = off")
            for query in queries:
                cursor.execute("EXPLAIN " + query)
                plan = "\n".join(line for (line,) in cursor.fetchall())
                assert "Index Scan on audit_by_actor_name" in plan, plan
                assert "Index Scan on audit_by_subject" in plan, plan
