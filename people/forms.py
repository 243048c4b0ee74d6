"""The forms of allauth with the portal's words and limits."""

from collections.abc import Callable
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.forms import (
    ChangePasswordForm,
    LoginForm,
    ResetPasswordForm,
    ResetPasswordKeyForm,
    SetPasswordForm,
)
from allauth.account.forms import (
    ReauthenticateForm as ConfirmForm,
)
from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import guessing
from .axes_handler import lock_out

_SECOND_FACTOR = guessing.Place(guessing.SECOND_FACTOR)


class _Plain(forms.Form):
    """Fields without placeholders, which vanish while one types."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)


class _CountedCode(_Plain):
    """A second factor: wrong codes are counted."""

    user: User

    def clean_code(self) -> str:
        """Check the code, and count a wrong one."""
        # The form beside this class in the bases checks it.
        check: Any = super()
        return _counted(self.user, check.clean_code)


class SignInForm(_Plain, LoginForm):
    """User name or address, and password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = _("User name or e-mail address")
        self.fields["login"].widget.attrs = {"autocomplete": "username", "autocapitalize": "none", "maxlength": "254"}
        self.fields["password"].help_text = ""

    def user_credentials(self) -> dict[str, Any]:
        """What was typed as the user name alone: the backend tries it as an address first.

        Allauth would name it as an address as well, and the password of a known address would be hashed twice. The
        time that this takes would tell which addresses are known.
        """
        return {"username": self.cleaned_data["login"], "password": self.cleaned_data["password"]}


class PasswordForm(_Plain, ChangePasswordForm):
    """The present password counts as a sign-in: somebody at a session left open must not guess it without limit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["oldpassword"].help_text = ""

    def clean_oldpassword(self) -> str:
        """Check it as signing in does."""
        password = str(self.cleaned_data["oldpassword"])
        if not get_adapter().reauthenticate(self.user, password):
            raise get_adapter().validation_error("enter_current_password")
        return password


class ConfirmByPasswordForm(_Plain, ConfirmForm):
    """The password, to confirm that it is still you."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].help_text = ""


class ForgottenForm(_Plain, ResetPasswordForm):
    """The address to send a link for a new password to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = _("E-mail address")

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Send the link, or say to an unknown address that it has no account: whoever asks sees no difference."""
        if self.users:
            return str(super().save(request, **kwargs))
        email = str(self.cleaned_data["email"])
        get_adapter().send_mail("account/email/unknown_account", email, {})
        return email


class ChooseForm(_Plain, ResetPasswordKeyForm):
    """The new password of who came by a link."""


class FirstPasswordForm(_Plain, SetPasswordForm):
    """The first password of who signs in with the OpenID Connect provider."""


class AppForm(_Plain, ActivateTOTPForm):
    """The first code of a new authenticator app."""


class SecondFactorForm(_CountedCode, AuthenticateForm):
    """The second factor of signing in."""


class ConfirmByCodeForm(_CountedCode, ReauthenticateForm):
    """The second factor of confirming that it is still you."""


class PasskeyForm(AddWebAuthnForm):
    """A new passkey."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = _("Name, to tell it from others")
        self.fields["passwordless"].label = _("Sign in with this passkey alone")
        self.fields["passwordless"].help_text = _(
            "Without name and password. The device then asks for your finger, your face or a PIN."
        )


def _counted(user: User, check: Callable[[], str]) -> str:
    """The code, if it is right. Wrong codes are counted for the account, with growing pauses."""
    account, now = guessing.account_of_user(user), timezone.now()
    until = guessing.locked_until(account, _SECOND_FACTOR, now)
    if until is None:
        try:
            code = check()
        except ValidationError as error:
            if error.code == "incorrect_code":
                until = guessing.record_failure(account, _SECOND_FACTOR, now)
            if until is None:
                raise
        else:
            guessing.forget_place(account, _SECOND_FACTOR)
            return code
    lock_out(context.request, until)
    raise get_adapter().validation_error("too_many_login_attempts")
