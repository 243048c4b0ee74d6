"""People in the admin: invited, changed, deactivated, given roles and courses. Never deleted, and no password is shown.

Django's page of users, which lists every permission and with which anybody can be made a superuser, is not used. The
rules are in `people.roles`. Groups can be changed by superusers only.
"""

import copy
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group, User
from django.db import IntegrityError
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.cache import add_never_cache_headers
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from badging.admin.base import KeySelectMultiple, KeysField, PortalAdmin
from badging.admin.course_managers import CoursesField
from badging.admin.display import MOST_SHOWN, link_to, rows_table
from badging.admin.search import is_key
from badging.models import CourseManager
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
from moodle_sync.models import Course

from . import invitations, roles, second_factors, sessions

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _UserForm = forms.ModelForm[User]
else:
    _UserForm = forms.ModelForm

# Who manages more courses than this gets and loses them under *Course managers*: Django accepts 1,000 form fields.
MOST_COURSES = 200


# What the page of an invitation shows. "Save" is the only button, because the link comes next.
INVITATION = {
    "title": gettext_lazy("Invite a person"),
    "show_save_and_add_another": False,
    "show_save_and_continue": False,
}


# What the portal's own roles are for.
EXPLAINED = {
    SITE_ADMINS: gettext_lazy("set the portal up, invite people, put right what fails"),
    DATA_PROTECTION_OFFICERS: gettext_lazy("read everything, export and erase learners' data"),
}


class RolesField(KeysField):
    """A choice of roles."""

    def label_from_instance(self, obj: Group) -> str:
        """The role, and what it is for."""
        explained = EXPLAINED.get(obj.name)
        return f"{_(obj.name)}: {explained}" if explained else obj.name


class RoleFilter(admin.SimpleListFilter):
    """By what people are: one of the roles, course manager, superuser, or nothing yet."""

    title = gettext_lazy("role")
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The roles by their numbers, and what is no role in the database."""
        names = Group.objects.order_by("name").values_list("pk", "name")
        others = [("manager", _("Course manager")), ("superuser", _("Superuser")), ("none", _("None"))]
        return [(str(pk), _(name)) for pk, name in names] + others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The people who have the role."""
        value = self.value() or ""
        if value == "manager":
            return queryset.filter(Exists(CourseManager.objects.filter(user=OuterRef("pk"))))
        if value == "superuser":
            return queryset.filter(is_superuser=True)
        if value == "none":
            manages = Exists(CourseManager.objects.filter(user=OuterRef("pk")))
            return queryset.filter(~manages, is_superuser=False, groups=None)
        return queryset.filter(groups=int(value)) if is_key(value) else queryset


class UserForm(_UserForm):
    """A user's name and address, roles and courses."""

    # Set for each request by `UserAdmin.get_form`.
    actor: User

    roles = RolesField(
        label=gettext_lazy("Roles"),
        queryset=Group.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("A role gives access to the admin. Course managers need none. Several go together."),
    )
    courses = CoursesField(
        label=gettext_lazy("Course manager of"),
        queryset=Course.objects.select_related("site"),
        required=False,
        widget=KeySelectMultiple(CourseManager._meta.get_field("course")),
        help_text=gettext_lazy("The courses whose badge they choose. Type the beginning of a course's name."),
    )

    class Meta:
        model = User
        fields = ("username", "email", "first_name", "last_name", "is_superuser")
        labels = {
            "username": gettext_lazy("User name"),
            "email": gettext_lazy("E-mail address"),
            "is_superuser": gettext_lazy("Superuser"),
        }
        help_texts = {
            "username": gettext_lazy("Letters, digits and @ . + - _ only."),
            "is_superuser": gettext_lazy("May do everything, also what no role gives."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = dict(self.fields)
        if "email" in fields:
            fields["email"].required = True
        if "roles" in fields:
            fields["roles"].queryset = roles.grantable_by(self.actor)
        if self.instance.pk:
            self.initial["roles"] = list(self.instance.groups.values_list("pk", flat=True))
            self.initial["courses"] = list(self.instance.managed_courses.values_list("course_id", flat=True))

    def clean_username(self) -> str:
        """The user name. Sign-in ignores case, so no other user may have it in any case."""
        name: str = self.cleaned_data["username"]
        if User.objects.filter(username__iexact=name).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError(_("Somebody has this user name. Capitals make no difference."))
        return name

    def clean_email(self) -> str:
        """The address, which no other user may have."""
        email: str = self.cleaned_data["email"]
        if invitations.is_taken(email, besides=self.instance):
            raise forms.ValidationError(_("Somebody has this e-mail address."))
        return email


# A mixin: its place in the bases is before ModelAdmin.
_Mixin: Any = object


class Renamed(_Mixin):
    """Pages that call their rows by other names than Django's models do."""

    opts: Any
    # One and several of them.
    names: tuple[Any, Any]

    def __init__(self, model: Any, admin_site: Any) -> None:
        super().__init__(model, admin_site)
        self.opts = copy.copy(self.opts)
        self.opts.verbose_name, self.opts.verbose_name_plural = self.names

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list under its new name."""
        changelist: Any = super().get_changelist_instance(request)
        changelist.opts, changelist.title = self.opts, capfirst(self.names[1])
        return changelist


class _Added(HttpResponse):
    """What `response_add` answers: which user was added, and where Django would go next."""

    def __init__(self, user: User, after: HttpResponse) -> None:
        super().__init__()
        self.user = user
        self.after = after


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(Renamed, PortalAdmin):
    """Who may manage users invites and changes those who may do no more than themselves."""

    form = UserForm
    list_display = ("username", "full_name", "email", "roles_held", "is_active", "last_login")
    list_filter = (RoleFilter, "is_active")
    ordering = ("username",)
    search_fields = ("username", "email", "first_name", "last_name")
    search_help_text = gettext_lazy("User name, name or e-mail address")
    names = (gettext_lazy("person"), gettext_lazy("people"))
    add_label = gettext_lazy("Invite a person")
    actions = ("send_link", "remove_factors", "sign_out", "deactivate", "reactivate")
    button_actions = actions

    # Permissions

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Who may view users."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Who may manage users, or has Django's permission to view them."""
        return self.has_manage_permission(request) or request.user.has_perm("auth.view_user")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Who may manage users."""
        return self.has_manage_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Who may manage users; not those who may do more than themselves."""
        return self.has_manage_permission(request) and (obj is None or roles.may_change(request.user, obj))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nobody: users are deactivated, so that it stays known what they did."""
        return False

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """Asked for the actions."""
        return request.user.has_perm(roles.MANAGE_USERS)

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Users with their roles, and whether they manage courses."""
        manages = CourseManager.objects.filter(user=OuterRef("pk"))
        users: QuerySet[User] = super().get_queryset(request)
        return users.prefetch_related("groups").annotate(manages=Exists(manages))

    @admin.display(description=gettext_lazy("name"))
    def full_name(self, obj: User) -> str:
        """First and last name."""
        return obj.get_full_name() or "-"

    @admin.display(description=gettext_lazy("roles"))
    def roles_held(self, obj: Any) -> str:
        """The user's roles in words."""
        names = [_("Superuser")] if obj.is_superuser else []
        names += [_(group.name) for group in obj.groups.all()]
        return ", ".join([*names, _("Course manager")] if obj.manages else names) or "-"

    # The page of a user

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """For an invitation the address, name, roles and courses; then what the portal knows as well."""
        makes_managers = roles.may_make_course_managers(request.user)
        if obj is None:
            chosen = ["roles", "courses"] if makes_managers else ["roles"]
            return [
                (None, {"fields": ("email", "first_name", "last_name")}),
                (gettext_lazy("What they may do"), {"fields": chosen}),
            ]
        changes = self.has_change_permission(request, obj)
        is_self = obj.pk == request.user.pk
        name = "username" if request.user.is_superuser else "user_name"
        few = obj.managed_courses.count() <= MOST_COURSES
        chosen = [
            "roles" if changes and not is_self else "roles_held",
            *(["is_superuser"] if request.user.is_superuser else []),
            "courses" if changes and makes_managers and few else "courses_managed",
        ]
        return [
            (None, {"fields": (name, "email", "first_name", "last_name")}),
            (gettext_lazy("What they may do"), {"fields": chosen}),
            (gettext_lazy("Account"), {"fields": ("active", "password_chosen", "last_login", "date_joined")}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """What actions change, what only superusers change, and for oneself whether one is a superuser."""
        fixed = ["user_name", "active", "password_chosen", "last_login", "date_joined", "roles_held", "courses_managed"]
        if obj is not None and obj.pk == request.user.pk:
            fixed.append("is_superuser")
        return fixed

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> Any:
        """The form for this actor, with those of its own fields that the page shows."""
        form: Any = super().get_form(request, obj, change, **kwargs)
        shown = [name for _title, part in self.get_fieldsets(request, obj) for name in part["fields"]]
        attributes: dict[str, Any] = {"actor": request.user}
        # None takes a declared field out of a form.
        attributes |= {name: None for name in ("roles", "courses") if name not in shown}
        return type(form)(form.__name__, (form,), attributes)

    @admin.display(description=gettext_lazy("user name"))
    def user_name(self, obj: User) -> str:
        """The user name, which only superusers change."""
        return obj.get_username()

    @admin.display(description=gettext_lazy("active"), boolean=True)
    def active(self, obj: User) -> bool:
        """Whether the user may sign in. Django's own text beside this field is for a box to tick."""
        return obj.is_active

    @admin.display(description=gettext_lazy("password chosen"), boolean=True)
    def password_chosen(self, obj: User) -> bool:
        """Whether the user can sign in with a password; not before the first link was used."""
        return obj.has_usable_password()

    @admin.display(description=gettext_lazy("course manager of"))
    def courses_managed(self, obj: User) -> str:
        """The courses that the user manages."""
        rows = CourseManager.objects.filter(user=obj).select_related("course__site").order_by("-pk")[:MOST_SHOWN]
        lines = [(link_to(row.course, row.course.full_label),) for row in rows]
        return rows_table(CourseManager, (gettext_lazy("course"),), lines, user__id__exact=obj.pk)

    # Saving

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save name and address; a new user gets a user name and no usable password."""
        if not change:
            invitations.prepare(obj)
        if "is_superuser" in form.changed_data:
            obj.is_staff = roles.is_to_be_staff(obj)
        obj.save()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save roles and courses where they were changed."""
        super().save_related(request, form, formsets, change)
        if "roles" in form.changed_data:
            roles.set_roles(form.instance, form.cleaned_data["roles"], actor=request.user)
        if "courses" in form.changed_data:
            roles.set_courses(form.instance, form.cleaned_data["courses"], actor=request.user)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Invite: once the user is stored, send or show the link."""
        try:
            response: HttpResponse = super().add_view(request, form_url, INVITATION | (extra_context or {}))
        except IntegrityError:
            # The same invitation at the same moment: both chose the same user name.
            self.message_user(request, _("Somebody has this e-mail address."), messages.ERROR)
            return HttpResponseRedirect(self._url("changelist"))
        # Only now, because no transaction may be open while a mail server is asked.
        if isinstance(response, _Added):
            return self._deliver(request, [response.user]) or response.after
        return response

    def response_add(self, request: HttpRequest, obj: User, post_url_continue: str | None = None) -> HttpResponse:
        """Tell `add_view` who was added."""
        self.message_user(request, _("%(person)s was invited.") % {"person": obj}, messages.SUCCESS)
        return _Added(obj, HttpResponseRedirect(self._url("changelist")))

    # Actions

    @admin.action(description=gettext_lazy("Send password link"), permissions=["manage"])
    def send_link(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        """Ask, then mail or show each user a link to set a password."""
        rows = self._active(request, self._changeable(request, queryset))
        effects = [
            _("Each gets a link to choose a new password. It works once."),
            _("The link is sent by mail.")
            if invitations.mail_is_set_up()
            else _("The portal sends no mail: the next page shows the link, and you pass it on."),
            _("The present password works until a new one is chosen. Then all sessions end."),
        ]
        if page := self._ask(request, rows, _("Send password link"), effects):
            return page
        return self._deliver(request, rows)

    @admin.action(description=gettext_lazy("Remove second factors"), permissions=["manage"])
    def remove_factors(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        """Ask, then remove the second factors of users who have lost them."""
        rows = self._changeable(request, queryset)
        effects = [
            _("Authenticator app, passkeys and recovery codes are removed."),
            _("They sign in with their password alone, and should add a new second factor at once."),
            _("Make sure that it is really they who ask you."),
        ]
        if page := self._ask(request, rows, _("Remove second factors"), effects):
            return page
        for user in rows:
            count = second_factors.remove_all(user, actor=request.user)
            text = _("%(user)s: second factors removed: %(count)d.") % {"user": user, "count": count}
            self.message_user(request, text)
        return None

    @admin.action(description=gettext_lazy("Sign out everywhere"), permissions=["manage"])
    def sign_out(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        """Ask, then end all sessions of the users."""
        rows = self._changeable(request, queryset)
        effects = [_("They are signed out in all browsers, and can sign in again.")]
        if page := self._ask(request, rows, _("Sign out everywhere"), effects):
            return page
        for user in rows:
            sessions.sign_out_everywhere(user, actor=request.user)
            self.message_user(request, _("%(user)s is signed out everywhere.") % {"user": user})
        return None

    @admin.action(description=gettext_lazy("Deactivate"), permissions=["manage"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        """Ask, then keep the users from signing in."""
        rows = self._changeable(request, queryset)
        if request.user in rows:
            rows.remove(request.user)
            self.message_user(request, _("You cannot deactivate yourself."), messages.WARNING)
        effects = [
            _("They are signed out everywhere and cannot sign in."),
            _("Their roles and courses are kept, and give nothing until the user is reactivated."),
            _("What they did stays in the audit trail."),
        ]
        if page := self._ask(request, rows, _("Deactivate"), effects):
            return page
        for user in rows:
            roles.deactivate(user, actor=request.user)
            self.message_user(request, _("%(user)s is deactivated.") % {"user": user})
        return None

    @admin.action(description=gettext_lazy("Reactivate"), permissions=["manage"])
    def reactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        """Ask, then let the users sign in again."""
        rows = self._changeable(request, queryset)
        effects = [_("They can sign in again, with their roles and courses of before and their old password.")]
        if page := self._ask(request, rows, _("Reactivate"), effects):
            return page
        for user in rows:
            roles.reactivate(user, actor=request.user)
            self.message_user(request, _("%(user)s is reactivated.") % {"user": user})
        return None

    def buttons_for(self, obj: User) -> list[str]:
        """What can be done with an active user, or with an inactive one."""
        return ["send_link", "remove_factors", "sign_out", "deactivate"] if obj.is_active else ["reactivate"]

    def buttons(self, request: HttpRequest, obj: User) -> list[Any]:
        """None on the page of a user who may do more; for oneself no button that is refused."""
        if not self.has_change_permission(request, obj):
            return []
        found = super().buttons(request, obj)
        return [button for button in found if button.action != "deactivate"] if obj == request.user else found

    def _ask(self, request: HttpRequest, rows: list[User], title: str, effects: list[str]) -> HttpResponse | None:
        if not rows:
            return None
        return self.confirmation(request, rows, title=title, effects=effects, label=title, describe=_described)

    def _changeable(self, request: HttpRequest, queryset: QuerySet[User]) -> list[User]:
        """The chosen users whom the actor may change, with a message for each of the others."""
        rows = self.chosen(request, queryset) or []
        changeable = roles.changeable_by(request.user).filter(pk__in=[row.pk for row in rows])
        allowed = set(changeable.values_list("pk", flat=True))
        for user in rows:
            if user.pk not in allowed:
                text = _("%(user)s may do more than you: a superuser must do this.") % {"user": user}
                self.message_user(request, text, messages.WARNING)
        return [user for user in rows if user.pk in allowed]

    def _active(self, request: HttpRequest, rows: list[User]) -> list[User]:
        """Those of the users who are active, with a message for each of the others."""
        for user in rows:
            if not user.is_active:
                text = _("%(user)s is deactivated. Reactivate the user first.") % {"user": user}
                self.message_user(request, text, messages.WARNING)
        return [user for user in rows if user.is_active]

    def _deliver(self, request: HttpRequest, users: list[User]) -> HttpResponse | None:
        """Mail each user a link. What could not be mailed is shown once: returns a page that browsers do not keep."""
        deliveries = [invitations.deliver(user, request) for user in users]
        for delivery in deliveries:
            if delivery.mailed:
                text = _("A link to choose a password was sent to %(address)s.") % {"address": delivery.user.email}
                self.message_user(request, text)
        if not any(delivery.link for delivery in deliveries):
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": _("Links to pass on"),
            "opts": self.opts,
            "media": self.media,
            "deliveries": [delivery for delivery in deliveries if delivery.link],
            "hours": int(invitations.valid_for().total_seconds() // 3600),
        }
        page = TemplateResponse(request, "admin/people_links.html", context)
        add_never_cache_headers(page)
        return page


@admin.register(Group)
class GroupAdmin(Renamed, DjangoGroupAdmin):
    """Roles and their permissions: for superusers, whatever else somebody was permitted."""

    names = (gettext_lazy("role"), gettext_lazy("roles"))
    list_before_template = "admin/roles_note.html"
    change_form_before_template = "admin/roles_note.html"

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Superusers may."""
        return self._may(request)

    def has_view_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Superusers may."""
        return self._may(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Superusers may."""
        return self._may(request)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Superusers may."""
        return self._may(request)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Superusers may."""
        return self._may(request)

    def _may(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)


def _described(user: User) -> str:
    """The user as a page of confirmation names them."""
    return f"{user.get_username()} ({user.email})" if user.email else user.get_username()
