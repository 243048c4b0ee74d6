"""Pages whose form takes a token: typed once, tested before anything is saved, and never shown again.

`TokenAdmin.changeform_view` is the flow: the form checks the fields, `connect` tests the token and saves, and what
`connect` finds wrong becomes an error at the token's field. Without a new token only the settings are saved. What was
typed is kept while the form is shown again (`kept_tokens`).
"""

from typing import Any

from django import forms
from django.contrib.admin import helpers
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters

from . import kept_tokens
from .base import PortalAdmin

KEPT = gettext_lazy("It is not shown again. Leave this empty to keep the stored token.")
NEW = gettext_lazy("It is tested before it is saved, stored encrypted, and not shown again.")
TYPED = gettext_lazy("The token that you typed is kept for 10 minutes. Leave this empty to use it.")

LONGEST_TOKEN = 2000


class TokenInput(forms.PasswordInput):
    """A field that never shows what was typed, and sends the handle of what is kept of it."""

    handle = ""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """The empty field, and the handle if there is one."""
        field = super().render(name, value, attrs, renderer)
        if not self.handle:
            return field
        return format_html('{}<input type="hidden" name="{}" value="{}">', field, f"{name}_kept", self.handle)


def check_token(text: str) -> None:
    """Raise ValidationError, saying what to do, for what cannot be a token."""
    if len(text) > LONGEST_TOKEN:
        raise ValidationError(
            gettext("This has %(count)d characters, too many for a token. Copy the token alone."),
            params={"count": len(text)},
        )
    if "<" in text or ">" in text:
        raise ValidationError(gettext("This looks like a piece of a page. Copy the token alone."))
    if not all("!" <= character <= "~" for character in text):
        raise ValidationError(
            gettext("A token has no blanks, line breaks or accented letters in it. Copy the token alone.")
        )


def token_field(label: Any) -> forms.CharField:
    """A field for a token. Blanks around it are stripped, browsers do not store it, and no page contains it."""
    # Without `maxlength`: a browser would cut off what was pasted, and nobody would know.
    widget = TokenInput(render_value=False, attrs={"autocomplete": "off", "spellcheck": "false", "size": 60})
    return forms.CharField(label=label, required=False, strip=True, widget=widget, validators=[check_token])


def require_token_of_new(form: Any) -> None:
    """Require `new_token` of a row that is added; one that is changed keeps its token."""
    is_new = form.instance.pk is None
    form.fields["new_token"].required = is_new
    form.fields["new_token"].help_text = NEW if is_new else KEPT


class TokenAdmin(PortalAdmin):
    """A page whose form has a field `new_token`."""

    # Whether the page has a button that tests what was typed, and saves nothing: see `try_out`.
    tests_typed = False

    def connect(self, request: HttpRequest, form: Any) -> list[str]:
        """Test the new token and save `form.instance` with it; returns what is wrong when nothing was saved."""
        raise NotImplementedError

    def try_out(self, request: HttpRequest, form: Any) -> dict[str, Any]:
        """Test what was typed, saving nothing; returns what the page shows of it."""
        raise NotImplementedError

    def save_settings(self, request: HttpRequest, obj: Any, changed: list[str]) -> None:
        """Save changed settings of a row that keeps its token; `changed` are the names of the form's fields."""
        raise NotImplementedError

    @method_decorator(sensitive_post_parameters("new_token"))
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """As Django's, except that a valid form with a new token is connected, outside of any transaction."""
        form = self._filled_form(request, object_id) if request.method == "POST" else None
        if form is None:
            return super().changeform_view(request, object_id, form_url, extra_context)
        is_new = form.instance.pk is None
        is_valid = form.is_valid()
        if self.tests_typed and "_test" in request.POST:
            result = self.try_out(request, form)
            return self._form_again(request, form, is_new, form_url, result)
        if not is_valid or not form.cleaned_data["new_token"]:
            return super().changeform_view(request, object_id, form_url, extra_context)
        if problems := self.connect(request, form):
            form.add_error("new_token", [gettext("Nothing was saved."), *problems])
            return self._form_again(request, form, is_new, form_url)
        kept_tokens.forget(request, request.POST.get("new_token_kept", ""))
        message = self.construct_change_message(request, form, [], is_new)
        if is_new:
            self.log_addition(request, form.instance, message)
            return self.response_add(request, form.instance)
        self.log_change(request, form.instance, message)
        return self.response_change(request, form.instance)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The page; where it shows a form again, what was typed as token is kept."""
        form = context["adminform"].form
        if request.method == "POST" and "new_token" in form.fields:
            self._keep_typed(request, form["new_token"])
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the settings; a token is saved by `connect` only."""
        if form.cleaned_data["new_token"]:
            raise PermissionDenied
        self.save_settings(request, obj, form.changed_data)

    def _filled_form(self, request: HttpRequest, object_id: str | None) -> Any:
        """The form with what was posted; None where Django refuses the request: unknown row, no permission."""
        obj = self.get_object(request, unquote(object_id)) if object_id is not None else None
        if object_id is None:
            allowed = self.has_add_permission(request)
        else:
            allowed = obj is not None and self.has_change_permission(request, obj)
        if not allowed or "_saveasnew" in request.POST:
            return None
        self._fill_in_kept(request)
        return self.get_form(request, obj, change=obj is not None)(request.POST, instance=obj)

    def _fill_in_kept(self, request: HttpRequest) -> None:
        """Where the token's field was left empty, what is kept counts as typed."""
        token = kept_tokens.find(request, request.POST.get("new_token_kept", ""))
        if token and not request.POST.get("new_token", "").strip():
            data = request.POST.copy()
            data["new_token"] = token
            request.POST = QueryDict(data.urlencode())

    def _keep_typed(self, request: HttpRequest, bound: Any) -> None:
        """Keep what was typed, unless it cannot be a token."""
        kept_tokens.forget(request, request.POST.get("new_token_kept", ""))
        token = request.POST.get("new_token", "").strip()
        try:
            check_token(token)
        except ValidationError:
            return
        if token:
            bound.field.widget.handle = kept_tokens.keep(request, token)
            bound.help_text = TYPED

    def _form_again(
        self, request: HttpRequest, form: Any, is_new: bool, form_url: str, more: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page with the form's errors, and more to show."""
        obj = None if is_new else form.instance
        fieldsets: list[Any] = list(self.get_fieldsets(request, obj))
        readonly = self.get_readonly_fields(request, obj)
        admin_form = helpers.AdminForm(form, fieldsets, {}, readonly, model_admin=self)
        title = gettext("Add %s") if is_new else gettext("Change %s")
        context = {
            **self.admin_site.each_context(request),
            "title": title % self.opts.verbose_name,
            "subtitle": str(obj) if obj else None,
            "adminform": admin_form,
            "original": obj,
            "object_id": obj.pk if obj else None,
            "is_popup": False,
            "media": self.media + admin_form.media,
            "inline_admin_formsets": [],
            "errors": helpers.AdminErrorList(form, []),
            "preserved_filters": self.get_preserved_filters(request),
            "may_insist": getattr(form, "may_insist", False),
            **(more or {}),
        }
        page: HttpResponse = self.render_change_form(
            request, context, add=is_new, change=not is_new, form_url=form_url, obj=obj
        )
        return page
