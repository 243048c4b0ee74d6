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


class SignInForm(LoginForm):
    """User name or address, and password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = _("User name or e-mail address")
        self.fields["login"].widget.attrs = {"autocomplete": "username", "autocapitalize": "none", "maxlength": "254"}
        _plain(self.fields["password"])
        self.fields["password"].help_text = ""

    def user_credentials(self) -> dict[str, Any]:
        """What was typed as the user name alone: the backend tries it as an address first.

        Allauth would name it as an address as well, and the password of a known address would be hashed twice. The
        time that this takes would tell which addresses are known.
        """
        return {"username": self.cleaned_data["login"], "password": self.cleaned_data["password"]}


class PasswordForm(ChangePasswordForm):
    """The present password counts as a sign-in: somebody at a session left open must not guess it without limit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["oldpassword"].help_text = ""
        for field in self.fields.values():
            _plain(field)

    def clean_oldpassword(self) -> str:
        """Check it as signing in does."""
        password = str(self.cleaned_data["oldpassword"])
        if not get_adapter().reauthenticate(self.user, password):
            raise get_adapter().validation_error("enter_current_password")
        return password


class ConfirmByPasswordForm(ConfirmForm):
    """The password, to confirm that it is still you."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].help_text = ""
        _plain(self.fields["password"])


class ForgottenForm(ResetPasswordForm):
    """The address to send a link for a new password to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = _("E-mail address")
        _plain(self.fields["email"])

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Send the link, or say to an unknown address that it has no account: whoever asks sees no difference."""
        if self.users:
            return str(super().save(request, **kwargs))
        email = str(self.cleaned_data["email"])
        get_adapter().send_mail("account/email/unknown_account", email, {})
        return email


class ChooseForm(ResetPasswordKeyForm):
    """The new password of who came by a link."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            _plain(field)


class FirstPasswordForm(SetPasswordForm):
    """The first password of who signs in with the OpenID Connect provider."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            _plain(field)


class AppForm(ActivateTOTPForm):
    """The first code of a new authenticator app."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain(self.fields["code"])


class SecondFactorForm(AuthenticateForm):
    """The second factor of signing in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain(self.fields["code"])

    def clean_code(self) -> str:
        """Check the code, and count wrong ones."""
        return _counted(self.user, super().clean_code)


class ConfirmByCodeForm(ReauthenticateForm):
    """The second factor of confirming that it is still you."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain(self.fields["code"])

    def clean_code(self) -> str:
        """Check the code, and count wrong ones."""
        return _counted(self.user, super().clean_code)


class PasskeyForm(AddWebAuthnForm):
    """A new passkey."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = _("Name, to tell it from others")
        self.fields["passwordless"].label = _("Sign in with this passkey alone")
        self.fields["passwordless"].help_text = _(
            "Without name and password. The device then asks for your finger, your face or a PIN."
        )


def _plain(field: forms.Field) -> None:
    """Without a placeholder: it vanishes while one types."""
    field.widget.attrs.pop("placeholder", None)


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
