"""Sign-in locks in the admin: who must wait, and releasing them."""

from typing import Any, cast

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from badging.admin.base import ReadOnlyAdmin

from . import guessing
from .models import SignInLock

# Allauth's own pages would show secrets, and change addresses and second factors without a trace.
for _model in (EmailAddress, Authenticator, SocialAccount, SocialApp, SocialToken):
    admin.site.unregister(_model)


class WaitingFilter(admin.SimpleListFilter):
    """Whether somebody must wait now. The table holds the failures of one day."""

    title = gettext_lazy("must wait now")
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Yes or no."""
        return [("yes", _("Yes")), ("no", _("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those who must wait, or all others."""
        waits = Q(locked_until__gt=timezone.now())
        if self.value() == "yes":
            return queryset.filter(waits)
        return queryset.exclude(waits) if self.value() == "no" else queryset


@admin.register(SignInLock)
class SignInLockAdmin(ReadOnlyAdmin):
    """Failed sign-ins of the last day."""

    list_display = ("who", "place", "failures", "failed_at", "waits_until")
    list_display_links = ("who",)
    sortable_by = ()
    list_filter = (WaitingFilter, "failed_at")
    list_select_related = ("user",)
    search_fields = ("user__username",)
    search_help_text = gettext_lazy("User name")
    fields = ("who", "place", "failures", "failed_at", "waits_until")
    readonly_fields = ("who", "waits_until")
    actions = ("release",)
    button_actions = ("release",)

    @admin.display(description=gettext_lazy("user"))
    def who(self, obj: SignInLock) -> str:
        """The user, if there is one of that name."""
        return str(obj.user or _("unknown account"))

    @admin.display(description=gettext_lazy("must wait until"))
    def waits_until(self, obj: SignInLock) -> Any:
        """Until when, if it is not over."""
        return obj.locked_until if obj.locked_until and obj.locked_until > timezone.now() else None

    def has_release_permission(self, request: HttpRequest) -> bool:
        """Site admins may."""
        return request.user.has_perm("people.release_signinlock")

    @admin.action(description=gettext_lazy("Release"), permissions=["release"])
    def release(self, request: HttpRequest, queryset: QuerySet[SignInLock]) -> HttpResponse | None:
        """Let the accounts sign in at once, after a question."""
        rows = self.chosen(request, queryset.select_related("user"))
        if rows is None:
            return None
        effects = [_("The account can sign in again at once, from everywhere. Its failures are forgotten.")]
        page = self.confirmation(request, rows, title=_("Release"), effects=effects, label=_("Release"))
        if page is None:
            count = guessing.release(rows, actor=cast(User, request.user))
            self.message_user(request, ngettext("%d account released.", "%d accounts released.", count) % count)
        return page
