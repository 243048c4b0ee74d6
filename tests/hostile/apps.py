"""Applications that the real web server runs in place of the portal, to show what it passes on and when it ends."""

import functools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse

# More than the system keeps for a client that does not read, and less than the server keeps. In bytes.
LARGE = 14_000_000


def waiting(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """`/wait` writes the file `begun` and answers once there is a file `go`; `/large` has LARGE bytes.

    `/late` takes half a second.
    """
    folder = Path(os.environ["PORTAL_DATA_DIR"])
    if environ["PATH_INFO"] == "/wait":
        (folder / "begun").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
    if environ["PATH_INFO"] == "/late":
        time.sleep(0.5)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"x" * LARGE] if environ["PATH_INFO"] == "/large" else [b"finished"]


def echoed(request: HttpRequest) -> HttpResponse:
    """What Django knows of the request."""
    forwarding = {name for name in request.META if "FORWARDED" in name or "REAL_IP" in name or "_URL" in name}
    return JsonResponse(
        {
            "address": request.META["REMOTE_ADDR"],
            "scheme": request.scheme,
            "host": request.get_host(),
            "path": request.path,
            "script_name": request.META.get("SCRIPT_NAME", ""),
            "kept": sorted(forwarding),
        }
    )


@functools.cache
def _django() -> WSGIHandler:
    application = get_wsgi_application()
    settings.ROOT_URLCONF = "tests.hostile.echo_urls"
    return application


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """What Django sees of a request behind the portal's own middleware."""
    return _django()(environ, start_response)
