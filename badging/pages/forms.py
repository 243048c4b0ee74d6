"""Forms of the course managers' pages."""

from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ..mapping import version_of
from ..models import CourseBadgeMapping, Issuance
from ..moments import moment
from ..searches import LONGEST_SEARCH

NOW = "now"
PAST = "past"


class CourseFilter(forms.Form):
    """Search and filter of the course list."""

    q = forms.CharField(label=_("Search by name"), required=False, max_length=200)
    badge = forms.ChoiceField(
        label=_("Badge"),
        required=False,
        choices=[("", _("All courses")), ("yes", _("With a badge")), ("no", _("Without a badge"))],
    )


class BadgeSearch(forms.Form):
    """Search among a provider's badges."""

    q = forms.CharField(label=_("Search by name"), required=False, max_length=200)


class LearnerSearch(forms.Form):
    """Search for a learner of a course. Sent by POST: see `badging.searches`."""

    q = forms.CharField(
        label=_("Find a learner"),
        required=False,
        max_length=LONGEST_SEARCH,
        widget=forms.TextInput(attrs={"autocomplete": "off", "type": "search"}),
    )


class IssuanceFilter(forms.Form):
    """Filter of a course's issuances by state."""

    state = forms.ChoiceField(label=_("Status"), required=False, choices=[("", _("All")), *Issuance.State.choices])


class MappingForm(forms.Form):
    """The settings of a mapping besides the badge."""

    # What a person types. It stays with them from one step to another, and when a page must be tried again.
    TYPED = ("min_score", "who")

    min_score = forms.IntegerField(
        label=_("Minimum score in percent"),
        required=False,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_("From 0 to 100. Leave empty to issue whatever the score."),
        widget=forms.NumberInput(attrs={"min": 0, "max": 100, "inputmode": "numeric"}),
    )

    # The mapping that the person saw: see `version_of`.
    seen = forms.CharField(required=False, max_length=100, widget=forms.HiddenInput)

    def __init__(
        self,
        data: Any = None,
        *,
        mapping: CourseBadgeMapping | None,
        goes_live: bool = False,
        most_past: int | None,
        typed: Mapping[str, str] | None = None,
    ) -> None:
        """`mapping`: the course's present one. Past completions that it includes stay included.

        `goes_live`: it moves from staging to production, so that only completions from now on count unless chosen.

        `most_past`: how many of them this person may include, or None for any number. `typed`: what they have typed
        before.
        """
        past = bool(mapping and mapping.include_past and not goes_live)
        initial: dict[str, Any] = {"min_score": mapping.min_score if mapping else None, "who": NOW, **(typed or {})}
        if past:
            initial["who"] = PAST
        super().__init__(data, initial=initial | {"seen": version_of(mapping)})
        only_new: Any = _("Only from now on")
        if mapping and not past and not goes_live:
            since = moment(mapping.since)
            only_new = _("Only completions since %(since)s, as before") % {"since": since}
        self.fields["who"] = forms.ChoiceField(
            label=_("Who gets the badge"),
            choices=[(NOW, only_new), (PAST, _("Also those who have already completed"))],
            disabled=past,
            help_text=" ".join(map(str, _on_past(past, most_past))),
            widget=forms.RadioSelect,
        )

    def shown_score(self) -> int | None:
        """The minimum score that the form shows; None where it shows none, or what is no score."""
        try:
            score: int | None = self.fields["min_score"].clean(self["min_score"].value())
        except ValidationError:
            return None
        return score


def _on_past(is_included: bool, most_past: int | None) -> "Iterator[str | Promise]":
    """What to know about past completions before they are chosen."""
    if is_included:
        yield _("Past completions are included already, and stay included.")
    if most_past is not None:
        text = _(
            "If more than %(limit)d learners have already completed the course, their badges wait until a site admin "
            "releases them."
        )
        yield text % {"limit": most_past}
