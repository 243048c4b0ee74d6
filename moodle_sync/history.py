"""Versions of the rows that people set up: what a row was from when on, and who changed it. Never a secret.

A version is written where a row is saved, and only if one of the settings that people change differs from the version
before. What the engine counts and notes in the same rows makes none.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.db import models
from django.utils import timezone
from simple_history.models import HistoricalRecords

from vault.keys import WrongKey


class Version(models.Model):
    """What every version holds besides the row's own columns.

    Personal data: which user of the portal made the change, with the user name of that time.
    """

    # Stays whatever becomes of the account.
    actor_name = models.CharField(max_length=150, blank=True, editable=False)
    token_changed = models.BooleanField(default=False, editable=False)

    class Meta:
        abstract = True


# What a row is told about the save that comes next.
_TOLD = ("_history_user", "_history_date", "_token_changed")
# Which versions are kept of which model.
VERSIONS: dict[type[models.Model], "Versions"] = {}


class Versions(HistoricalRecords):
    """Keeps versions of a model: of `settings`, a change of which makes one, and of `beside`, which is kept with them.

    Columns that are not named are never kept; so a new one is a secret until somebody names it. Of the column `hidden`
    is kept only that it was changed.
    """

    def __init__(self, settings: Sequence[str], *, beside: Sequence[str] = (), hidden: str = "") -> None:
        super().__init__(bases=(Version,))
        self.settings, self.beside, self.hidden = tuple(settings), tuple(beside), hidden

    def finalize(self, sender: type[models.Model], **kwargs: Any) -> None:
        """Make the table of the versions once the model is complete."""
        if self.cls is sender:
            kept = {"id", *self.settings, *self.beside}
            self.excluded_fields = [field.name for field in sender._meta.fields if field.name not in kept]
            models.signals.pre_save.connect(self.pre_save, sender=sender, weak=False)
            VERSIONS[sender] = self
        super().finalize(sender, **kwargs)

    def copy_fields(self, model: type[models.Model]) -> dict[str, Any]:
        """The row's columns without their texts and rules, which people read and check on the row itself."""
        fields: dict[str, Any] = super().copy_fields(model)
        for field in fields.values():
            field._verbose_name, field.help_text, field.choices, field._validators = None, "", None, []
        return fields

    def get_extra_fields(self, model: type[models.Model], fields: dict[str, Any]) -> dict[str, Any]:
        """What is kept of the change itself: when, who and how. Nobody is asked why."""
        extra: dict[str, Any] = super().get_extra_fields(model, fields)
        del extra["history_change_reason"]
        return extra

    def get_meta_options(self, model: type[models.Model]) -> dict[str, Any]:
        """Nobody is given rights to versions: whoever may view a row may view its history."""
        options: dict[str, Any] = super().get_meta_options(model)
        return options | {"default_permissions": ()}

    def pre_save(self, instance: models.Model, raw: bool, update_fields: Collection[str] | None, **kwargs: Any) -> None:
        """Note whether the secret is about to be changed."""
        is_saved = not raw and bool(self.hidden) and (update_fields is None or self.hidden in update_fields)
        instance.__dict__["_token_changed"] = is_saved and self._has_new_secret(instance)

    def _has_new_secret(self, instance: models.Model) -> bool:
        new = instance.__dict__.get(self.hidden)
        # What was loaded and not set is no text, but what stands in the database.
        if not instance.pk or not new or not isinstance(new, str):
            return False
        before = type(instance)._base_manager.filter(pk=instance.pk).only(self.hidden).first()
        try:
            return before is not None and getattr(before, self.hidden) != new
        except WrongKey:
            return True

    def create_historical_record(self, instance: Any, history_type: str, using: str | None = None) -> None:
        """Write a version if there is a new one.

        The values are those that now stand in the database: a row that is saved in part may hold others in memory.
        """
        versions = versions_of(type(instance))
        actor = self.get_history_user(instance)
        told = {name: instance.__dict__.pop(name, None) for name in _TOLD}
        names = [field.attname for field in self.fields_included(instance)]
        if history_type == "-":
            values = {name: getattr(instance, name) for name in names}
        else:
            values = type(instance)._base_manager.values(*names).get(pk=instance.pk)
        token_changed = bool(told["_token_changed"])
        if history_type == "~" and not token_changed and not self._is_new(versions, values):
            return
        versions.create(
            **values,
            history_type=history_type,
            history_date=told["_history_date"] or timezone.now(),
            history_user=actor,
            actor_name=actor.get_username() if actor else "",
            token_changed=token_changed,
        )

    def _is_new(self, versions: models.QuerySet[Any], values: dict[str, Any]) -> bool:
        before = versions.filter(id=values["id"]).order_by("-history_id").first()
        compared = [self.cls._meta.get_field(name).attname for name in self.settings]
        return before is None or any(getattr(before, name) != values[name] for name in compared)


def versions_of(model: type[models.Model]) -> models.QuerySet[Any]:
    """All versions of the model's rows."""
    manager: Any = getattr(model, VERSIONS[model].manager_name)
    rows: models.QuerySet[Any] = manager.model.objects.all()
    return rows


def by(row: Any, actor: Any, *, at: datetime | None = None) -> None:
    """Say who is about to save this row, and when; None is a command, or the portal itself.

    Without this it is the user of the request.
    """
    row.__dict__["_history_user"] = actor if getattr(actor, "pk", None) else None
    row.__dict__["_history_date"] = at


def note(row: models.Model, actor: Any, *, at: datetime) -> None:
    """Write a version of a row that was changed by a query, which writes none by itself."""
    by(row, actor, at=at)
    VERSIONS[type(row)].create_historical_record(row, "~")
