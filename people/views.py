"""The pages of allauth that the portal uses, where they differ from it, and the page “Your account”."""

import logging
from typing import Any
from urllib.parse import urlsplit

import requests
from allauth.account import views as account_views
from allauth.mfa.models import Authenticator
from allauth.mfa.totp import views as app_views
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.openid_connect import views as oidc_views
from csp.decorators import csp_update
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

logger = logging.getLogger(__name__)


class _SignInView(account_views.LoginView):
    """The sign-in page, with a button for the OpenID Connect provider if there is one."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the provider's name."""
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return context | {"provider_name": settings.OIDC_NAME if settings.OIDC_SERVER_URL else ""}


def sign_in(request: HttpRequest) -> HttpResponse:
    """The sign-in page. Its form may lead to the provider: browsers apply `form-action` to redirects, too."""
    view = _SignInView.as_view()
    if settings.OIDC_SERVER_URL:
        provider = urlsplit(settings.OIDC_SERVER_URL)
        view = csp_update({"form-action": [f"{provider.scheme}://{provider.netloc}"]})(view)
    page: HttpResponse = view(request)
    return page


class PasswordResetView(account_views.PasswordResetView):
    """Sends the link for a new password; without mail it says whom to ask."""

    # Django's form views treat PUT like POST.
    http_method_names = ["get", "head", "post", "options"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add whether the portal can send mail."""
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return context | {"can_send": settings.SENDS_MAIL}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Send the link if the portal can."""
        if not settings.SENDS_MAIL:
            return redirect("account_reset_password")
        answer: HttpResponse = super().post(request, *args, **kwargs)
        return answer


class ChoosePasswordView(account_views.PasswordResetFromKeyView):
    """Where the links of a reset and of an invitation lead. The two differ in their words."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add whose password it is, and whether it is their first."""
        context: dict[str, Any] = super().get_context_data(**kwargs)
        user = getattr(self, "reset_user", None)
        return context | {"chosen_for": user, "is_first": user is not None and not user.has_usable_password()}


def sign_in_with_provider(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Go to the provider: by POST only, so that nobody is signed in by a link."""
    if request.method != "POST":
        return redirect("account_login")
    try:
        answer: HttpResponse = oidc_views.login(request, provider_id)
    except requests.RequestException as error:
        logger.error("The OpenID Connect provider cannot be asked: %s. Check OIDC_SERVER_URL.", type(error).__name__)
        return render(request, "socialaccount/authentication_error.html", status=503)
    return answer


# The QR code is a picture in the page itself.
add_app = csp_update({"img-src": ["data:"]})(app_views.activate_totp)


@never_cache
@login_required
@require_safe
def your_account(request: HttpRequest) -> HttpResponse:
    """What the signed-in person signs in with."""
    factors: dict[str, list[Any]] = {kind: [] for kind in Authenticator.Type.values}
    for row in Authenticator.objects.filter(user_id=request.user.pk).order_by("pk"):
        factors[row.type].append(row.wrap())
    context = {
        "app": next(iter(factors[Authenticator.Type.TOTP]), None),
        "recovery_codes": next(iter(factors[Authenticator.Type.RECOVERY_CODES]), None),
        "passkeys": factors[Authenticator.Type.WEBAUTHN],
        "provider_name": settings.OIDC_NAME,
        "is_linked": SocialAccount.objects.filter(user_id=request.user.pk).exists(),
        "is_required": settings.REQUIRE_SECOND_FACTOR and getattr(request.user, "is_staff", False),
    }
    return render(request, "account/your_account.html", context)
