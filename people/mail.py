"""Sending mail. Without EMAIL_URL the portal sends none."""

import logging
import smtplib

from django.core.mail import EmailMessage

logger = logging.getLogger(__name__)


class MailNotSent(Exception):
    """The mail server cannot be reached, or refuses. The log has the kind of error, and no address."""


def send(message: EmailMessage) -> None:
    """Send one mail. Raises MailNotSent."""
    try:
        message.send()
    except (OSError, smtplib.SMTPException) as error:
        logger.error("A mail could not be sent: %s. Check EMAIL_URL.", type(error).__name__)
        raise MailNotSent from None
