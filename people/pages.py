"""The pages of the user's own account."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from . import sessions


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def sign_out_everywhere(request: HttpRequest) -> HttpResponse:
    """End all sessions of the user, this one too, after asking."""
    if request.method != "POST":
        return render(request, "people/sign_out_everywhere.html")
    user: Any = request.user
    sessions.sign_out_everywhere(user, actor=user)
    logout(request)
    messages.success(request, _("You have been signed out in all browsers."))
    return redirect("account_login")
