"""What leaves the portal by Django's own export has no secrets in it."""

from io import StringIO

import pytest
from django.core.management import call_command

from tests.builders import make_connection, make_site


@pytest.mark.django_db
def test_dumpdata_holds_no_token() -> None:
    make_connection(pat="very-secret-pat")
    make_site(token="very-secret-token")
    out = StringIO()
    call_command("dumpdata", "badging", "moodle_sync", stdout=out)
    assert "navigatrconnection" in out.getvalue()
    assert "very-secret" not in out.getvalue()
