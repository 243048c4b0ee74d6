"""The first page after signing in."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from . import access


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Redirect staff without courses of their own to the admin, and everybody else to the courses."""
    if getattr(request.user, "is_staff", False) and not access.has_courses(request.user):
        return redirect("admin:index")
    return redirect("courses")
