"""The page in place of one that failed."""

import sys

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views import defaults

from badging.sending.settling import DATABASE_AWAY

RETRY_AFTER_SECONDS = "10"


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's `handler500`: a database that cannot be used just now is told as that (503), all else as a fault.

    Neither page asks the database for anything. Django has written the error to the log by then.
    """
    if isinstance(sys.exception(), DATABASE_AWAY):
        page = render_to_string("503.html")
        return HttpResponse(page, status=503, headers={"Retry-After": RETRY_AFTER_SECONDS})
    return defaults.server_error(request)
