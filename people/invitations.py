"""Inviting users, and the link with which somebody sets a password: good once, and for PASSWORD_RESET_TIMEOUT."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _

from badging import audit
from badging.models import AuditEntry

from .mail import MailNotSent, send

# How much of an address becomes a user name; User.username holds 150 characters.
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a link reached its user: by mail, or not yet, and then somebody must pass `link` on.

    `problem` says why a mail could not be sent.
    """

    user: User
    link: str = ""
    problem: str = ""

    @property
    def mailed(self) -> bool:
        """Whether the link was sent by mail."""
        return not self.link


def is_taken(email: str, *, besides: User | None = None) -> bool:
    """Whether another user has this e-mail address, in any case."""
    others = User.objects.filter(email__iexact=email)
    return (others.exclude(pk=besides.pk) if besides and besides.pk else others).exists()


def prepare(user: User) -> None:
    """Give a user who is not saved yet a user name of their own, after the address, and no usable password.

    Saving raises IntegrityError if somebody saves the same invitation at the same moment: both get the same name.
    """
    user.username = _free_name(user.email)
    user.set_unusable_password()


def _free_name(email: str) -> str:
    """A user name that nobody has: the address up to its @, with a number if need be."""
    wanted = re.sub(r"[^\w.+-]", "", email.partition("@")[0].lower())[:LONGEST_NAME] or "user"
    same_beginning = User.objects.filter(username__istartswith=wanted).values_list("username", flat=True)
    used_names = {name.lower() for name in same_beginning}
    number, name = 1, wanted
    while name in used_names:
        number += 1
        name = f"{wanted}{number}"
    return name


def mail_is_set_up() -> bool:
    """Whether the portal can send mail."""
    return bool(settings.SENDS_MAIL)


def link_for(user: User, address: str) -> str:
    """The address at which this user sets a password, in the portal at `address`."""
    key = {"uidb36": user_pk_to_url_str(user), "key": default_token_generator.make_token(user)}
    return urljoin(address, reverse("account_reset_password_from_key", kwargs=key))


def valid_for() -> timedelta:
    """For how long a link is good."""
    return timedelta(seconds=settings.PASSWORD_RESET_TIMEOUT)


def portal_address(request: HttpRequest | None = None) -> str:
    """The address that links begin with: PUBLIC_URL, else that of the request; for commands, which have none, loopback.

    A request may have come by another of the portal's names, which the person who gets the link cannot reach.
    """
    if settings.PUBLIC_URL:
        return str(settings.PUBLIC_URL)
    return request.build_absolute_uri("/") if request else f"http://127.0.0.1:{settings.PORT}"


def deliver(user: User, request: HttpRequest) -> Delivery:
    """Mail the user a link if the portal sends mail, else return it to be passed on. Recorded either way.

    Talks to the mail server: call it outside transactions.
    """
    invitation = not user.has_usable_password()
    address = portal_address(request)
    link, problem = link_for(user, address), ""
    if mail_is_set_up() and user.email:
        problem = _mail(user, link, address, invitation)
        delivery = Delivery(user, link, problem) if problem else Delivery(user)
    else:
        delivery = Delivery(user, link)
    record(user, actor=request.user, how="mail" if delivery.mailed else "shown")
    return delivery


def record(user: User, *, actor: Any, how: str) -> None:
    """Record that a link was made."""
    made = AuditEntry.Action.PASSWORD_LINK if user.has_usable_password() else AuditEntry.Action.USER_INVITED
    audit.record(made, user, actor=actor, how=how)


def _mail(user: User, link: str, address: str, invitation: bool) -> str:
    """Send the link; returns what is wrong if the mail server did not take it."""
    hours = int(valid_for().total_seconds() // 3600)
    context = {"user": user, "link": link, "address": address, "invitation": invitation, "hours": hours}
    subject = _("Your account in the Navigatr badge portal") if invitation else _("Set a new password")
    try:
        send(EmailMessage(subject, render_to_string("people/link.txt", context), to=[user.email]))
    except MailNotSent:
        return _("The mail could not be sent: the mail server does not take it.")
    return ""
