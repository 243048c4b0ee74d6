"""The help page: the steps from a course to its badges, what a status means, and where support is."""

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from outbound_http import web_address

from ..reach import is_site_admin


@login_required
@require_safe
def help_page(request: HttpRequest) -> HttpResponse:
    """What people do here, step by step, and whom to ask."""
    contact = settings.SUPPORT_CONTACT
    context = {
        "contact": contact,
        "contact_url": contact_url(contact),
        "is_admin": getattr(request.user, "is_staff", False) and is_site_admin(request.user),
    }
    return render(request, "courses/help.html", context)


def contact_url(contact: str) -> str:
    """The link for a contact that is a web address or an e-mail address, or "" for other text."""
    try:
        validate_email(contact)
    except ValidationError:
        return web_address(contact)
    return f"mailto:{contact}"
