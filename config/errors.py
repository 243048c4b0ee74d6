"""The page for server errors."""

import sys

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views import defaults

from badging.sending.settling import DATABASE_AWAY
from vault.keys import WrongKey

# Sent as Retry-After while the database is unavailable.
RETRY_AFTER_SECONDS = "10"


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's `handler500`. An unavailable database and a wrong key are answered with 503, any other error with 500.

    No page uses the database. Django has already logged the error.
    """
    error = sys.exception()
    if isinstance(error, DATABASE_AWAY):
        page = render_to_string("503.html")
        return HttpResponse(page, status=503, headers={"Retry-After": RETRY_AFTER_SECONDS})
    if isinstance(error, WrongKey):
        # Its message says which setting is wrong and what to do, and holds no key.
        return HttpResponse(render_to_string("wrong_key.html", {"error": error}), status=503)
    return defaults.server_error(request)
