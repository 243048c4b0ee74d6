"""What is asked of every request: a place in the queue of sign-ins, a second factor of staff, a known browser."""

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from . import hashing, known_browsers
from .mail import MailNotSent

GetResponse = Callable[[HttpRequest], HttpResponse]

# The pages that hash a password when they are posted.
HASHING_PAGES = {
    "account_login",
    "account_reauthenticate",
    "account_change_password",
    "account_set_password",
    "account_reset_password_from_key",
}
# How many such requests a process handles or lets wait at once; others are told to come back. Those of browsers that
# have signed in before are counted apart. Together they leave the web server threads for other pages.
QUEUE_LENGTH = 4
RETRY_AFTER_SECONDS = "3"

# The pages that staff without a second factor may see when one is required: those where they add one.
WITHOUT_SECOND_FACTOR = {
    "account",
    "account_logout",
    "account_reauthenticate",
    "account_change_password",
    "account_set_password",
    "mfa_index",
    "mfa_activate_totp",
    "mfa_add_webauthn",
    "mfa_list_webauthn",
    "mfa_view_recovery_codes",
    "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
    "sign-out-everywhere",
}


class SignInQueue:
    """Answers 503 at once when QUEUE_LENGTH requests are already waiting for a hash.

    It stands before the sessions and asks the database for nothing, so that refusing costs next to nothing.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._queues = {known: threading.BoundedSemaphore(QUEUE_LENGTH) for known in (True, False)}

    def __call__(self, request: Any) -> HttpResponse:
        """Leave the queue once there is an answer."""
        token = hashing.from_known_browser.set(known_browsers.is_known(request))
        try:
            return self.get_response(request)
        finally:
            hashing.from_known_browser.reset(token)
            if queue := getattr(request, "sign_in_queue", None):
                queue.release()

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Join the queue before one of HASHING_PAGES is posted."""
        if request.method != "POST" or request.resolver_match.url_name not in HASHING_PAGES:
            return None
        queue = self._queues[hashing.from_known_browser.get()]
        if not queue.acquire(blocking=False):
            return _busy()
        request.sign_in_queue = queue
        return None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Hashing took too long, on whatever page; or a mail could not be sent."""
        if isinstance(exception, hashing.TooManyHashes):
            return _busy()
        if isinstance(exception, MailNotSent):
            return HttpResponse(render_to_string("account/mail_not_sent.html"), status=503)
        return None


def _busy() -> HttpResponse:
    answer = HttpResponse(_busy_page(get_language()), status=503, headers={"Retry-After": RETRY_AFTER_SECONDS})
    # Django would log each of them as an error, and so anybody could fill the log.
    setattr(answer, "_has_been_logged", True)  # noqa: B010 - an attribute that Django's types do not know
    return answer


@cache
def _busy_page(language: str | None) -> str:
    """The page in the present language, rendered once: it is sent most when there is no time."""
    return render_to_string("account/busy.html")


class KnownBrowser:
    """Remembers the browser from which somebody has just signed in."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        """Set the cookie after a sign-in."""
        response = self.get_response(request)
        if user_pk := getattr(request, "signed_in_user_pk", None):
            known_browsers.remember(request, response, user_pk)
        return response


class SecondFactor:
    """With REQUIRE_SECOND_FACTOR, staff without one reach only the pages where they add one."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Nothing before or after the view."""
        return self.get_response(request)

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Send staff without a second factor to their account."""
        user = request.user
        if not settings.REQUIRE_SECOND_FACTOR or not user.is_authenticated or not user.is_staff:
            return None
        match = request.resolver_match
        if (not match.namespaces and match.url_name in WITHOUT_SECOND_FACTOR) or has_second_factor(user):
            return None
        messages.warning(request, _("Your account needs a second factor before you go on. Add one here."))
        return redirect("account")


def has_second_factor(user: Any) -> bool:
    """Whether signing in to this account takes more than a password. Recovery codes alone are none."""
    return bool(is_mfa_enabled(user, [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]))
