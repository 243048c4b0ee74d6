"""Where the portal differs from allauth: nobody signs up, failures count per account and place, secrets are sealed."""

from typing import Any
from urllib.parse import urljoin, urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.userkit import filter_users_by_email
from allauth.account.models import EmailAddress
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal import ratelimit
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from badging import audit
from badging.models import AuditEntry
from vault import keys

from . import claimed_groups, guessing, invitations
from .axes_handler import account_of, lock_out
from .mail import send

_MISMATCH = gettext_lazy("This user name, e-mail address or password is not right. Check them and try again.")


class AccountAdapter(DefaultAccountAdapter):
    """Accounts with a password."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "email_password_mismatch": _MISMATCH,
        "username_password_mismatch": _MISMATCH,
        "incorrect_password": gettext_lazy("This is not your password. Try again."),
        "enter_current_password": gettext_lazy("This is not your present password. Try again."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Nobody creates an account for themselves: site admins invite people."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address that failures are counted for."""
        return guessing.address_of(request)

    def pre_authenticate(self, request: Any, **credentials: Any) -> None:
        """Refuse who must wait, and an address with too many failures; known browsers are exempt from the latter.

        The failures of an account are counted by `people.guessing`, where they can be released.
        """
        account = account_of(credentials)
        place = guessing.place_of(request, account)
        self._login_failed_rl_usage = None
        if until := guessing.locked_until(account, place, timezone.now()):
            # Refused without being counted, so that a release ends the wait.
            lock_out(request, until)
            raise self.validation_error("too_many_login_attempts")
        if place.known:
            return
        rates = settings.ACCOUNT_RATE_LIMITS["login_failed"].split(",")
        limits = {"login_failed": ",".join(rate for rate in rates if rate.endswith("/ip"))}
        self._login_failed_rl_usage = ratelimit.consume(
            request, app="allauth.account", action="login_failed", config=limits
        )
        if not self._login_failed_rl_usage:
            lock_out(request, timezone.now() + guessing.FIRST_PAUSE)
            raise self.validation_error("too_many_login_attempts")

    def is_reauthentication_required(self, **kwargs: Any) -> bool:
        """Not of who has neither a password nor a second factor yet: they could never go on."""
        if not self.get_reauthentication_methods(context.request.user):
            return False
        return bool(super().is_reauthentication_required(**kwargs))

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Back to the account."""
        return reverse("account")

    def send_password_reset_mail(self, user: Any, email: str, context: dict[str, Any]) -> None:
        """Send the link, and write down that it was asked for."""
        super().send_password_reset_mail(user, email, context)
        audit.record(AuditEntry.Action.RESET_SENT, user)

    def get_reset_password_from_key_url(self, key: str) -> str:
        """The link of that mail. It begins as all links do that people are sent."""
        path = urlsplit(super().get_reset_password_from_key_url(key)).path
        return urljoin(invitations.portal_address(self.request), str(path))

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send a mail. Raises `people.mail.MailNotSent` when the mail server cannot be reached."""
        send(self.render_mail(template_prefix, email, {"email": email, **context}))


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Accounts of the OpenID Connect provider: they open accounts that exist here, by their verified address."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        """Who has no account here is told whom to ask."""
        return False

    def authenticate_by_email(self, sociallogin: Any) -> tuple[Any, str] | None:
        """The one active user with this address; None if there are two, because it could be either."""
        for email, users in _matches(sociallogin):
            if len(users) == 1:
                return users[0], email
        return None

    @transaction.atomic
    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Refuse to connect by hand, take the groups over, and keep none of the provider's data about the person."""
        if sociallogin.state.get("process") == AuthProcess.CONNECT:
            # A signed-in person could connect an account of another address.
            raise ImmediateHttpResponse(HttpResponseRedirect(reverse("account")))
        claims = sociallogin.account.extra_data
        sociallogin.account.extra_data = {}
        if not sociallogin.is_existing:
            provider = sociallogin.account.provider
            audit.record(AuditEntry.Action.SIGN_ON_REFUSED, provider, reason=_reason_of_refusal(sociallogin))
            return
        if sociallogin.account.pk:
            sociallogin.account.save(update_fields=["extra_data"])
        else:
            self._confirm_address(sociallogin)
        if sociallogin.user.is_active:
            claimed_groups.take_over(sociallogin.user, claims)

    def _confirm_address(self, sociallogin: Any) -> None:
        """Allauth takes the password away from users whose address nobody has confirmed; the provider just has."""
        user, [address, *_others] = sociallogin.user, sociallogin.email_addresses
        EmailAddress.objects.update_or_create(
            user=user, email=address.email.lower(), defaults={"verified": True, "primary": True}
        )


def _matches(sociallogin: Any) -> list[tuple[str, list[Any]]]:
    """The verified addresses that the provider tells, each with the active users who have it."""
    verified = [address.email for address in sociallogin.email_addresses if address.verified]
    return [(email, filter_users_by_email(email, is_active=True, for_login=True)) for email in verified]


def _reason_of_refusal(sociallogin: Any) -> str:
    """Why `authenticate_by_email` finds no account, for the audit."""
    matches = _matches(sociallogin)
    if not matches:
        return "address not verified"
    return "several accounts" if any(users for _email, users in matches) else "no active account"


class MFAAdapter(DefaultMFAAdapter):
    """Second factors."""

    def encrypt(self, text: str) -> str:
        """Encrypt the secret of an authenticator app or of recovery codes."""
        return keys.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        """Decrypt. Raises `vault.keys.WrongKey`."""
        return keys.decrypt(encrypted_text)

    def get_totp_label(self, user: Any) -> str:
        """The user name: the address would stay in the app of who leaves."""
        return str(user.get_username())

    def _get_site_name(self) -> str:
        return gettext("Navigatr badge portal")


def keep_one_address(sender: Any, instance: User, raw: bool = False, **kwargs: Any) -> None:
    """After a user is saved: allauth knows the present address only, and no link that single sign-on made by another.

    Otherwise the link for a new password could still be sent to an address that an admin has taken away, and whoever
    signed in at the provider with that address would still get in.
    """
    if raw:
        return
    address = instance.email.lower()
    known = EmailAddress.objects.filter(user=instance)
    replaced, _by_model = known.exclude(email=address).delete()
    if replaced:
        SocialAccount.objects.filter(user=instance).delete()
    if address and not known.exists():
        EmailAddress.objects.create(user=instance, email=address, primary=True, verified=False)
