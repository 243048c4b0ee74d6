"""`manage.py sign_in_link`: a link with which somebody chooses a password, for when nobody can get in."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _

from badging.management.base import PortalCommand
from people import invitations, second_factors


class Command(PortalCommand):
    """Print a link; it works once. Raises CommandError for an unknown or deactivated user."""

    help = "Prints a link with which a user chooses a new password. It works once."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the user, --activate, --remove-second-factors and --address."""
        super().add_arguments(parser)
        parser.add_argument("username", help="the user name")
        parser.add_argument("--activate", action="store_true", help="let a deactivated user sign in again")
        parser.add_argument("--remove-second-factors", action="store_true", help="for who has lost them")
        parser.add_argument(
            "--address",
            help="the portal's address, such as https://badges.example.org; default: CSRF_TRUSTED_ORIGINS",
        )

    def handle(
        self, *, username: str, activate: bool, remove_second_factors: bool, address: str | None, **options: Any
    ) -> None:
        """Make the link, and say for how long it works."""
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(_("There is no such user. Give the user name, not the e-mail address."))
        if not user.is_active:
            if not activate:
                raise CommandError(_("This user is deactivated. With --activate they can sign in again."))
            user.is_active = True
            user.save(update_fields=["is_active"])
        if remove_second_factors:
            second_factors.remove_all(user, actor=None)
        link = invitations.link_for(user, address or invitations.portal_address())
        until = timezone.now() + invitations.valid_for()
        invitations.record(user, actor=None, how="shell")
        self.say(
            options,
            {"username": user.get_username(), "link": link, "valid_until": until.isoformat()},
            _("%(user)s chooses a new password here. The link works once, for %(hours)d hours:")
            % {"user": user.get_username(), "hours": invitations.valid_for().total_seconds() // 3600},
            link,
        )
