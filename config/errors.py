"""The page for server errors."""

import sys

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views import defaults

from badging.sending.settling import DATABASE_AWAY

# Sent as Retry-After while the database is unavailable.
RETRY_AFTER_SECONDS = "10"


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's `handler500`. An unavailable database is answered with 503, any other error with 500.

    Neither page uses the database. Django has already logged the error.
    """
    if isinstance(sys.exception(), DATABASE_AWAY):
        page = render_to_string("503.html")
        return HttpResponse(page, status=503, headers={"Retry-After": RETRY_AFTER_SECONDS})
    return defaults.server_error(request)
