"""Connections to Navigatr, which badge each course awards, the badges owed, and every attempt to issue them."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache, reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import PeriodicTask

from moodle_sync.addresses import recipient_address
from moodle_sync.history import Versions
from moodle_sync.models import Completion, Course, Learner, MoodleSite
from moodle_sync.reading import to_the_minute
from vault import digests
from vault.fields import DigestField, EncryptedTextField

from .meanings import FAILING, HELD_BY_MAPPING, MAY_PASS, MEANINGS, Meaning, Outcome
from .moments import moment

# django-celery-beat has no types.
if TYPE_CHECKING:
    _PeriodicTask = models.Model
else:
    _PeriodicTask = PeriodicTask


class Environment(models.TextChoices):
    """Which Navigatr: the two never meet."""

    PRODUCTION = "production", _("Production")
    STAGING = "staging", _("Staging")


class ConnectionQuerySet(models.QuerySet["NavigatrConnection"]):
    """Questions about connections."""

    def sendable(self, now: datetime) -> "ConnectionQuerySet":
        """Active ones that do not rest, because Navigatr asked for a pause or because of the circuit breaker."""
        ready = Q(not_before=None) | Q(not_before__lte=now)
        return self.filter(ready, state=NavigatrConnection.State.ACTIVE)


class NavigatrConnection(models.Model):
    """One Navigatr account that badges are issued with.

    Personal data: the name of the account's owner, as Navigatr tells it, in `account` and in `test_message`.
    """

    class State(models.TextChoices):
        ACTIVE = "active", _("Active")
        PAUSED = "paused", _("Paused")
        REMOVED = "removed", _("Removed: no token")

    name = models.CharField(_("name"), max_length=100, unique=True)
    environment = models.CharField(_("environment"), max_length=10, choices=Environment)
    pat = EncryptedTextField(_("Personal Access Token"), blank=True)
    pat_hint = models.CharField(_("token"), max_length=10, blank=True, editable=False)
    timeout = models.PositiveSmallIntegerField(
        _("time-out in seconds"),
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(300)],
        help_text=_("How long to wait for Navigatr's answer, 1 to 300 seconds."),
    )
    send_score = models.BooleanField(_("send the score"), default=True)
    send_evidence = models.BooleanField(
        _("send evidence"), default=True, help_text=_("The course's name and address, as evidence of the badge.")
    )
    calls_per_second = models.PositiveSmallIntegerField(
        _("most calls per second"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Over all workers together. Leave empty for no limit."),
    )
    calls_at_once = models.PositiveSmallIntegerField(
        _("most calls at once"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Over all workers together. Leave empty for no limit."),
    )
    past_limit = models.PositiveIntegerField(
        _("most past completions"),
        default=200,
        help_text=_(
            "How many learners who have already completed a course a course manager may include. Above that their "
            "badges wait until a site admin releases them. With 0 they always wait."
        ),
    )
    next_slot_at = models.DateTimeField(null=True, editable=False)
    # Calls for pages: when the next may begin, and until when one may be under way (`badging.sending.page_calls`).
    next_page_call_at = models.DateTimeField(null=True, editable=False)
    page_call_until = models.DateTimeField(null=True, editable=False)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.ACTIVE, editable=False)
    state_since = models.DateTimeField(null=True, editable=False)
    resumed_at = models.DateTimeField(null=True, editable=False)
    not_before = models.DateTimeField(
        _("waits until"), null=True, editable=False, help_text=_("Nothing is sent before this time.")
    )
    failures = models.PositiveIntegerField(_("calls failed in a row"), default=0, editable=False)
    last_outcome = models.CharField(_("last problem"), max_length=20, choices=Outcome, blank=True, editable=False)
    account = models.CharField(_("account"), max_length=255, blank=True, editable=False)
    # Id and name of each, as last seen. For people to choose from; nothing else rests on them.
    providers = models.JSONField(default=list, editable=False)
    tested_at = models.DateTimeField(_("last test"), null=True, editable=False)
    test_ok = models.BooleanField(_("last test passed"), null=True, editable=False)
    test_message = models.TextField(_("last test said"), blank=True, editable=False)

    history = Versions(
        (
            "name", "environment", "timeout", "send_score", "send_evidence", "calls_per_second", "calls_at_once",
            "past_limit", "state",
        ),
        hidden="pat",
    )  # fmt: skip
    objects = ConnectionQuerySet.as_manager()

    class Meta:
        verbose_name = _("Navigatr connection")
        verbose_name_plural = _("Navigatr connections")
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} ({self.get_environment_display()})"

    @property
    def has_limits(self) -> bool:
        """Whether it has limits of its own, which all that make calls with it share."""
        return self.calls_at_once is not None or self.calls_per_second is not None

    @property
    def base_url(self) -> str:
        """The address of this environment's API."""
        url: str = settings.NAVIGATR_URLS[self.environment]
        return url

    @property
    def hold_reason(self) -> Outcome | None:
        """Why nothing is sent with this connection, or None when it is active."""
        return {
            self.State.PAUSED.value: Outcome.CONNECTION_PAUSED,
            self.State.REMOVED.value: Outcome.CONNECTION_REMOVED,
        }.get(self.state)


class ConnectionGrant(models.Model):
    """That a connection, or one provider of it, is open: to everybody, a Moodle site, a category, or a course manager.

    A connection without grants is open to nobody but site admins.

    Personal data: which user it is open to.
    """

    class Kind(models.TextChoices):
        ALL = "all", _("Everybody: all courses of all Moodle sites")
        SITE = "site", _("All courses of a Moodle site")
        CATEGORY = "category", _("The courses of a Moodle category, without those of its sub-categories")
        MANAGER = "manager", _("A course manager, for all courses of theirs")

    connection = models.ForeignKey(
        NavigatrConnection, on_delete=models.CASCADE, related_name="grants", verbose_name=_("connection")
    )
    provider_id = models.PositiveBigIntegerField(
        _("provider id"), null=True, blank=True, help_text=_("Empty: all providers of the connection.")
    )
    kind = models.CharField(_("open to"), max_length=10, choices=Kind)
    site = models.ForeignKey(
        MoodleSite, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("Moodle site")
    )
    category_id = models.PositiveBigIntegerField(_("category id"), null=True, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("course manager"),
    )

    class Meta:
        verbose_name = _("opened connection")
        verbose_name_plural = _("opened connections")
        ordering = ["connection__name", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="all", site=None, category_id=None, user=None)
                | Q(kind="site", site__isnull=False, category_id=None, user=None)
                | Q(kind="category", site__isnull=False, category_id__isnull=False, user=None)
                | Q(kind="manager", site=None, category_id=None, user__isnull=False),
                name="grant_names_one_target",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.connection.name}: {self.label}"

    @property
    def label(self) -> str:
        """To whom it opens what, such as "Moodle site North, only for provider College (11)"."""
        return f"{self.target}, {self.provider_label}" if self.provider_id else self.target

    @property
    def target(self) -> str:
        """To whom it is open."""
        values = {"site": self.site, "id": self.category_id, "user": self.user}
        texts = {
            self.Kind.ALL.value: _("everybody"),
            self.Kind.SITE.value: _("Moodle site %(site)s"),
            self.Kind.CATEGORY.value: _("category %(id)s of %(site)s"),
            self.Kind.MANAGER.value: _("course manager %(user)s"),
        }
        return str(texts[self.kind] % values)

    @property
    def provider_label(self) -> str:
        """What it opens: all providers, or one, by name as far as known."""
        if self.provider_id is None:
            return str(_("all providers"))
        names = {int(number): name for number, name in self.connection.providers}
        values = {"name": names.get(self.provider_id, ""), "id": self.provider_id}
        return str(_("only for provider %(name)s (%(id)s)") % values)

    @staticmethod
    def for_course(site: Any, category_id: Any) -> Q:
        """Grants that open to a course of this site and category, whoever manages it."""
        whole_site = Q(kind=ConnectionGrant.Kind.SITE, site=site)
        category = Q(kind=ConnectionGrant.Kind.CATEGORY, site=site, category_id=category_id)
        return Q(kind=ConnectionGrant.Kind.ALL) | whole_site | category


class Past(models.TextChoices):
    """How far earlier completions are awarded. Chosen by a course manager, they are limited by the connection."""

    FREE = "free", _("no limit: a site admin chose or released them")
    WITHIN = "within", _("within the connection's limit")
    COUNTING = "counting", _("being counted: they wait until the course was read")
    OVER = "over", _("more than the connection's limit: they wait for a site admin")
    LOOKED_AT = "looked_at", _("a site admin looks at them first: they wait until they are released")


# While its mapping is in one of these, a past completion waits.
PAST_HELD = [Past.COUNTING, Past.OVER, Past.LOOKED_AT]


class MappingQuerySet(models.QuerySet["CourseBadgeMapping"]):
    """Questions about mappings."""

    def open(self, *, without: Collection[int] = ()) -> "MappingQuerySet":
        """Those whose connection and provider are open to them now: see `_in_reach`.

        `without`: as it would be without the grants with these primary keys.
        """
        return self.filter(_in_reach(without) if without else _open_now())

    def closed(self) -> "MappingQuerySet":
        """All that are not open."""
        return self.exclude(_open_now())

    def holding(self) -> "MappingQuerySet":
        """Those that hold something, or may, whatever their connection does."""
        return self.filter(Q(active=False) | Q(past_release__in=PAST_HELD) | ~_open_now())

    def with_reach(self) -> "MappingQuerySet":
        """With the answer of `is_open`, for a list of them."""
        return self.annotate(in_reach=models.ExpressionWrapper(_open_now(), models.BooleanField()))


@cache
def _open_now() -> Q:
    """`_in_reach` as it is, built once: it is part of most questions."""
    return _in_reach()


def _in_reach(without: Collection[int] = ()) -> Q:
    """Which mappings may use their connection and provider now.

    Those that a site admin chose; those of courses that these are open to; and those that were chosen by a course
    manager whom they are open to, who is active and still manages the course.
    """
    grants = ConnectionGrant.objects.order_by().filter(
        Q(provider_id=None) | Q(provider_id=models.OuterRef("provider_id")), connection=models.OuterRef("connection")
    )
    if without:
        grants = grants.exclude(pk__in=without)
    to_course = ConnectionGrant.for_course(models.OuterRef("course__site"), models.OuterRef("course__category_id"))
    chooser = models.OuterRef("chosen_by")
    to_chooser = grants.filter(kind=ConnectionGrant.Kind.MANAGER, user=chooser)
    manages = CourseManager.objects.order_by().filter(
        user=chooser, course=models.OuterRef("course"), user__is_active=True
    )
    by_chooser = Q(models.Exists(to_chooser)) & Q(models.Exists(manages))
    return Q(by_admin=True) | Q(models.Exists(grants.filter(to_course))) | by_chooser


class CourseBadgeMapping(models.Model):
    """Which badge the learners who complete a course get. One badge for each course.

    Personal data: which users of the portal made it, and chose its badge.
    """

    course = models.OneToOneField(Course, on_delete=models.PROTECT, related_name="mapping", verbose_name=_("course"))
    connection = models.ForeignKey(
        NavigatrConnection, on_delete=models.PROTECT, related_name="mappings", verbose_name=_("connection")
    )
    provider_id = models.PositiveBigIntegerField(_("provider id"))
    provider_name = models.CharField(_("provider"), max_length=255, blank=True)
    badge_id = models.PositiveBigIntegerField(_("badge id"))
    badge_name = models.CharField(_("badge"), max_length=255, blank=True)
    badge_image_url = models.URLField(_("badge picture"), max_length=2000, blank=True)
    badge_url = models.URLField(_("badge page"), max_length=2000, blank=True)
    badge_problem = models.TextField(_("what is wrong with the badge"), blank=True, editable=False)
    badge_problem_since = models.DateTimeField(_("found to be wrong"), null=True, editable=False)
    badge_checked_at = models.DateTimeField(_("badge last looked at"), null=True, editable=False)
    min_score = models.PositiveSmallIntegerField(
        _("minimum score in percent"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(100)],
        help_text=_("Leave empty to issue whatever the score."),
    )
    active = models.BooleanField(_("active"), default=True)
    resumed_at = models.DateTimeField(null=True, editable=False)
    since = models.DateTimeField(_("since"), help_text=_("Completions from this time on are awarded."))
    past_wanted_at = models.DateTimeField(
        _("past completions wanted"), null=True, editable=False, help_text=_("Then earlier completions count as well.")
    )
    past_release = models.CharField(
        _("past completions"), max_length=10, choices=Past, default=Past.WITHIN, editable=False
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, verbose_name=_("created by")
    )
    chosen_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("badge chosen by"),
        help_text=_("Who saved it last."),
    )
    by_admin = models.BooleanField(
        _("chosen by a site admin"),
        default=False,
        editable=False,
        help_text=_("Then the connection need not be open to the course."),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    history = Versions(
        ("course", "connection", "provider_id", "badge_id", "min_score", "active", "since", "past_wanted_at"),
        beside=("provider_name", "badge_name", "badge_image_url", "badge_url"),
    )
    objects = MappingQuerySet.as_manager()

    class Meta:
        verbose_name = _("course badge mapping")
        verbose_name_plural = _("course badge mappings")
        ordering = ["course__fullname", "pk"]
        constraints = [
            models.CheckConstraint(condition=Q(min_score=None) | Q(min_score__lte=100), name="min_score_is_percent"),
        ]

    def __str__(self) -> str:
        return f"{self.course} → {self.badge_name or self.badge_id}"

    @property
    def counts_from(self) -> datetime:
        """From when on completions count: the minute of `since`, because Moodle's report has no seconds."""
        return to_the_minute(self.since)

    @property
    def include_past(self) -> bool:
        """Whether completions from before the mapping are awarded as well."""
        return self.past_wanted_at is not None

    def is_past(self, completion: Completion) -> bool:
        """Whether the course was completed before it was mapped, as far as is known."""
        at = completion.last_completed_at
        return at is None or at < self.counts_from

    def accepts_score(self, score: Decimal | None) -> bool:
        """Whether a score in percent is enough: any, and none, is without a minimum."""
        return self.min_score is None or (score is not None and score >= self.min_score)

    def awards(self, row: "Issuance") -> bool:
        """Whether the row stands for what this mapping awards now, and not for what it awarded before a change."""
        return (self.connection_id, self.provider_id, self.badge_id) == (
            row.connection_id,
            row.provider_id,
            row.badge_id,
        )

    @cached_property
    def is_open(self) -> bool:
        """Whether it may use its connection and provider: as read by `with_reach`, or as asked once."""
        known: bool | None = getattr(self, "in_reach", None)
        return CourseBadgeMapping.objects.open().filter(pk=self.pk).exists() if known is None else known

    @property
    def hold_reason(self) -> Outcome | None:
        """Why badges under this mapping are held, or None when they may be sent."""
        if not self.active:
            return Outcome.MAPPING_DISABLED
        return self.connection.hold_reason or (None if self.is_open else Outcome.NOT_OPEN)

    def holds(self, row: "Issuance") -> Outcome | None:
        """Why an issuance of the course is held that is sent under this mapping, or None when it may be sent."""
        waits = row.past and self.past_release in PAST_HELD
        return self.hold_reason or (Outcome.PAST_WAITS if waits else None)


class Unanswered(models.TextChoices):
    """What is open about an earlier request to issue the badge, as its answer did not arrive."""

    NOTHING = "", _("Nothing")
    UNKNOWN = "unknown", _("Answer unknown: looked up before it is sent again")
    REPEAT = "repeat", _("Look-up refused: to be sent once more unseen")
    REPEATED = "repeated", _("Sent once more unseen, answer unknown again")

    @property
    def after_another(self) -> "Unanswered":
        """What is open once the answer to one more request did not arrive."""
        return Unanswered.UNKNOWN if self in (Unanswered.NOTHING, Unanswered.UNKNOWN) else Unanswered.REPEATED


NOTHING_OPEN = Q(unanswered=Unanswered.NOTHING)
LOOKED_UP_FIRST = Q(unanswered__in=[Unanswered.UNKNOWN, Unanswered.REPEATED])

# How long Moodle's word counts that a completion stands, and that an account is not suspended.
CONFIRMED_FOR = timedelta(hours=1)
CONFIRMED_FOR_ACCOUNTS = timedelta(minutes=2)


class IssuanceQuerySet(models.QuerySet["Issuance"]):
    """Questions about issuances."""

    def due(self, now: datetime) -> "IssuanceQuerySet":
        """Queued ones whose time has come, of sites about which no question is open."""
        doubted = Course.objects.exclude(site__state__doubt="")
        return self.filter(state=Issuance.State.QUEUED, next_attempt_at__lte=now).exclude(course__in=doubted)

    def with_standing(self) -> "IssuanceQuerySet":
        """With the rows that `standing` and `award` ask."""
        mappings = CourseBadgeMapping.objects.with_reach().select_related("connection")
        rows = self.select_related("course__site__state", "connection")
        return rows.prefetch_related(models.Prefetch("course__mapping", mappings))

    def in_turn(self) -> "IssuanceQuerySet":
        """In the order in which they are sent: today's completions before past ones. The index `due_first` has it."""
        return self.order_by("past", "next_attempt_at")

    def unsent_for(self, connection: NavigatrConnection) -> "IssuanceQuerySet":
        """Ones that have not been sent, of courses that award badges with this connection now.

        The courses are named one by one: PostgreSQL then passes over all others in the index `due_first`.
        """
        mappings = connection.mappings.filter(active=True).open().order_by()
        courses = dict(mappings.values_list("course", "past_release"))
        rows = self.filter(NOTHING_OPEN, course__in=list(courses))
        past_held = [course for course, past_release in courses.items() if past_release in PAST_HELD]
        return rows.exclude(past=True, course__in=past_held) if past_held else rows

    def unknown_for(self, connection: NavigatrConnection) -> "IssuanceQuerySet":
        """Ones that may be in Navigatr although no answer says so, and that were sent with this connection.

        Those that are to be sent once more unseen wait while their course's mapping holds them.
        """
        held = held_by(Outcome.MAPPING_DISABLED) | held_by(Outcome.NOT_OPEN) | held_by(Outcome.PAST_WAITS)
        # The environment is asked for as well: what was sent to one is never looked up in the other.
        rows = self.filter(~NOTHING_OPEN, connection=connection, environment=connection.environment)
        return rows.exclude(held, unanswered=Unanswered.REPEAT)

    def switched_off(self) -> "IssuanceQuerySet":
        """Queued ones that are held by their mapping or their connection: see `Issuance.switched_off_by`."""
        return self.filter(_switched_off(), state=Issuance.State.QUEUED)

    def switched_on(self) -> "IssuanceQuerySet":
        """All that are not switched off."""
        return self.exclude(_switched_off(), state=Issuance.State.QUEUED)

    def standing_as(self, state: "Issuance.State") -> "IssuanceQuerySet":
        """Ones that people know to be in this state: see `Issuance.standing`."""
        if state == Issuance.State.HELD:
            return self.filter(Q(state=state) | (Q(state=Issuance.State.QUEUED) & _switched_off()))
        return self.switched_on().filter(state=state) if state == Issuance.State.QUEUED else self.filter(state=state)

    def confirmed(self, now: datetime) -> "IssuanceQuerySet":
        """Ones that Moodle has lately said to be still owed, and ones to be looked up, of which nothing is sent."""
        return self.filter(self._confirmed(now))

    def unconfirmed(self, now: datetime) -> "IssuanceQuerySet":
        """Ones that have waited so long that Moodle is asked again before they are sent."""
        return self.exclude(self._confirmed(now))

    @staticmethod
    def _confirmed(now: datetime) -> Q:
        fresh = Q(completion__confirmed_at__gt=now - CONFIRMED_FOR)
        # Whether an account is suspended is asked right before sending, where that matters.
        just_now = Q(completion__confirmed_at__gt=now - CONFIRMED_FOR_ACCOUNTS)
        # Of erased learners nothing is asked; they are cancelled instead.
        erased = Q(learner__erased_at__isnull=False)
        return LOOKED_UP_FIRST | erased | (fresh & Q(course__site__send_suspended=True)) | just_now

    def lapsed(self, now: datetime) -> "IssuanceQuerySet":
        """Ones that a worker took and never gave back."""
        return self.filter(state=Issuance.State.SENDING, leased_until__lte=now)

    def unsent(self) -> "IssuanceQuerySet":
        """Ones that cannot be in Navigatr, that no worker has in hand, and that are neither issued nor cancelled."""
        return self.filter(NOTHING_OPEN, state__in=UNSENT)

    def perhaps_sent(self) -> "IssuanceQuerySet":
        """Ones that are in Navigatr, or may be: never to be sent to the same person again without a look-up."""
        return self.filter(PERHAPS_SENT)


@cache
def held_by(reason: Outcome) -> Q:
    """Which queued issuances one of HELD_BY_MAPPING, CONNECTION_PAUSED or CONNECTION_REMOVED holds.

    Each subquery is a small table.
    """
    mappings = CourseBadgeMapping.objects.order_by()
    if reason in HELD_BY_MAPPING:
        working = mappings.filter(active=True, connection__state=NavigatrConnection.State.ACTIVE)
        courses = {
            Outcome.MAPPING_DISABLED: mappings.filter(active=False),
            Outcome.NOT_OPEN: working.closed(),
            Outcome.PAST_WAITS: working.open().filter(past_release__in=PAST_HELD),
        }[reason].values("course")
        held = Q(unanswered__in=[Unanswered.NOTHING, Unanswered.REPEAT], course__in=courses)
        return held & Q(past=True) if reason == Outcome.PAST_WAITS else held
    paused = reason == Outcome.CONNECTION_PAUSED
    state = NavigatrConnection.State.PAUSED if paused else NavigatrConnection.State.REMOVED
    off = NavigatrConnection.objects.filter(state=state).order_by().values("pk")
    courses = mappings.filter(connection__in=off, active=True).values("course")
    return (NOTHING_OPEN & Q(course__in=courses)) | (~NOTHING_OPEN & Q(connection__in=off))


@cache
def _switched_off() -> Q:
    """Which queued issuances are held by their mapping or connection."""
    reasons = [Outcome.CONNECTION_PAUSED, Outcome.CONNECTION_REMOVED, *HELD_BY_MAPPING]
    return reduce(or_, map(held_by, reasons))


class Issuance(models.Model):
    """One badge owed to one learner for one course: the job, its state and its result.

    What has not been sent belongs to the mapping of its course: that says with which connection it is sent, and as
    which provider's badge. The columns here tell for which badge it was queued or, once it has been, last sent.

    Personal data: `recipient_key` is a keyed digest of the address that it was sent to, kept so that one person never
    gets a badge twice; `assertion_id` and `assertion_url` lead to the person's badge in Navigatr; `score_tried` is
    their score. Erasure blanks them. Name and address stay on Learner.
    """

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        SENDING = "sending", _("Sending")
        ISSUED = "issued", _("Issued")
        NOT_MET = "not_met", _("Requirement not met")
        FAILED = "failed", _("Failed, needs a person")
        HELD = "held", _("Held")
        CANCELLED = "cancelled", _("Cancelled")

    # Course and connection have no indexes of their own: some of those below begin with them.
    course = models.ForeignKey(
        Course, on_delete=models.PROTECT, related_name="issuances", db_index=False, verbose_name=_("course")
    )
    learner = models.ForeignKey(Learner, on_delete=models.PROTECT, related_name="issuances", verbose_name=_("learner"))
    completion = models.ForeignKey(
        Completion, on_delete=models.PROTECT, related_name="issuances", verbose_name=_("completion")
    )
    connection = models.ForeignKey(
        NavigatrConnection,
        on_delete=models.PROTECT,
        related_name="issuances",
        db_index=False,
        verbose_name=_("connection"),
    )
    environment = models.CharField(_("environment"), max_length=10, choices=Environment)
    provider_id = models.PositiveBigIntegerField(_("provider id"))
    badge_id = models.PositiveBigIntegerField(_("badge id"))
    badge_name = models.CharField(_("badge"), max_length=255, blank=True)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.QUEUED)
    reason = models.CharField(_("why"), max_length=20, choices=Outcome, blank=True)
    past = models.BooleanField(_("past completion"), default=False)
    queued_at = models.DateTimeField(_("queued"))
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True)
    failures = models.PositiveIntegerField(_("failed attempts"), default=0)
    first_attempt_at = models.DateTimeField(_("first attempt"), null=True)
    claim = models.UUIDField(null=True, editable=False)
    leased_until = models.DateTimeField(_("taken by a worker until"), null=True)
    unanswered = models.CharField(
        _("unanswered request"), max_length=10, choices=Unanswered, blank=True, default=Unanswered.NOTHING
    )
    date_accepted = models.BooleanField(
        _("date accepted"), default=False, help_text=_("A person lets it go on although its date is implausible.")
    )
    score_tried = models.DecimalField(max_digits=9, decimal_places=6, null=True, editable=False)
    recipient_key = DigestField()
    assertion_id = models.CharField(_("assertion"), max_length=64, blank=True)
    assertion_url = models.URLField(_("assertion's page"), max_length=2000, blank=True)
    issued_at = models.DateTimeField(_("issued"), null=True)

    objects = IssuanceQuerySet.as_manager()

    class Meta:
        verbose_name = _("issuance")
        verbose_name_plural = _("issuances")
        ordering = ["-pk"]
        constraints = [
            # Stronger than one for each badge: whoever holds the course's old badge gets no second one when the course
            # is mapped to another. Staging's test badges do not stand in production's way.
            models.UniqueConstraint(
                fields=["course", "learner", "environment"], name="one_issuance_per_course_and_learner"
            ),
            models.UniqueConstraint(
                # The recipient first, so that its index also finds whoever asks under this address.
                fields=["recipient_key", "environment", "badge_id"],
                condition=~Q(recipient_key="") & (Q(state__in=["sending", "issued"]) | ~Q(unanswered="")),
                name="one_badge_per_recipient",
            ),
            models.CheckConstraint(
                condition=~Q(state="issued") | ~Q(assertion_id="") | Q(reason="erased"), name="issued_has_an_assertion"
            ),
            models.CheckConstraint(
                condition=~Q(state="sending") | (Q(leased_until__isnull=False) & Q(claim__isnull=False)),
                name="sending_has_a_lease",
            ),
            models.CheckConstraint(
                condition=~Q(state="queued") | Q(next_attempt_at__isnull=False), name="queued_has_a_time"
            ),
        ]
        indexes = [
            # What a worker asks: the due ones, today's completions before past ones. No connection leads it, as that
            # is the mapping's: see docs/decisions/held-is-derived.md. SQLite takes it only because of its first column.
            models.Index(
                fields=["state", "past", "next_attempt_at", "course"],
                condition=Q(state="queued", unanswered=""),
                name="due_first",
            ),
            models.Index(
                fields=["connection", "next_attempt_at"],
                condition=Q(state="queued") & ~Q(unanswered=""),
                name="look_ups_due",
            ),
            # What the sweep asks.
            models.Index(fields=["leased_until"], condition=Q(state="sending"), name="lapsed_first"),
            # What a poll asks: who waits for a word of Moodle's.
            models.Index(
                fields=["course"], condition=Q(state__in=["held", "not_met", "failed"]), name="waits_by_course"
            ),
            # What the lists filter by, newest first.
            models.Index(fields=["state", "-id"], name="issuance_by_state"),
            models.Index(fields=["course", "-id"], name="issuance_by_course"),
            models.Index(fields=["connection", "state", "-id"], name="issuance_by_connection"),
            # What the list of courses counts of each; equal entries lie together.
            models.Index(fields=["course", "state"], name="issuance_course_state"),
            # What `status` counts: equal entries lie together, so that a million of them are 7 MB to read.
            models.Index(fields=["state"], name="issuance_counts"),
            # The learners of a course that the limit of past completions counts.
            models.Index(fields=["course", "learner"], condition=Q(past=True), name="past_by_course"),
            # What was issued on a day.
            models.Index(
                fields=["environment", "issued_at"], condition=Q(issued_at__isnull=False), name="issued_by_time"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.badge_name or self.badge_id} – {self.learner}"

    @property
    def mapping(self) -> CourseBadgeMapping | None:
        """The mapping of its course, or None where that awards no badge any more."""
        return getattr(self.course, "mapping", None)

    @property
    def award(self) -> CourseBadgeMapping | None:
        """The mapping whose badge it will be sent as, or None where its own columns tell as what it was sent."""
        return self.mapping if self.is_unsent else None

    @property
    def sent_as(self) -> "CourseBadgeMapping | Issuance":
        """What tells with which connection and as which badge it was sent, or will be: the mapping, or the row."""
        return self.award or self

    def take_award(self, mapping: CourseBadgeMapping) -> None:
        """Note in memory what the mapping awards: it is sent as that."""
        self.connection = mapping.connection
        self.environment = mapping.connection.environment
        self.provider_id, self.badge_id, self.badge_name = mapping.provider_id, mapping.badge_id, mapping.badge_name

    @property
    def is_as_sent(self) -> bool:
        """Whether what would be sent now is what was: the badge that the mapping awards, and the learner's address."""
        if self.mapping is None or not self.mapping.awards(self) or not self.recipient_key:
            return False
        sent_to: str = self.recipient_key
        return sent_to == recipient_key(self.learner.email, digests.name_of(sent_to))

    @property
    def is_unknown(self) -> bool:
        """Whether it may be in Navigatr although no answer says so."""
        return self.unanswered != Unanswered.NOTHING

    @property
    def is_unsent(self) -> bool:
        """Whether it was not sent and waits or has stopped, so that its course's mapping says what becomes of it."""
        return self.state in UNSENT and not self.is_unknown

    @property
    def is_looked_up_first(self) -> bool:
        """Whether Navigatr is asked before it is sent again."""
        return self.unanswered in (Unanswered.UNKNOWN, Unanswered.REPEATED)

    @property
    def awaits_answer(self) -> bool:
        """Whether it waits for an admin to say that the learner's Moodle site is still the same."""
        return self.state == self.State.QUEUED and bool(self.course.site.state.doubt)

    @property
    def switched_off_by(self) -> Outcome | None:
        """Why a queued one is held by its mapping or its connection, or None.

        Looking up does no harm: only a connection that cannot be used holds it.
        """
        if self.state != self.State.QUEUED:
            return None
        reason = self.mapping.holds(self) if self.mapping else None
        if not self.is_unknown:
            return reason
        is_sent = self.unanswered == Unanswered.REPEAT and reason in HELD_BY_MAPPING
        return self.connection.hold_reason or (reason if is_sent else None)

    @property
    def standing(self) -> "Issuance.State":
        """The state as people know it: queued ones under a mapping or connection that is off are held."""
        return self.State.HELD if self.switched_off_by else self.State(self.state)

    @property
    def standing_reason(self) -> str:
        """Why it has this standing."""
        return self.switched_off_by or self.reason

    @property
    def meaning(self) -> Meaning | None:
        """What happened and what to do, in plain words."""
        return MEANINGS.get(self.standing_reason)


# The states of one that waits or has stopped, and that no worker has in hand.
UNSENT = frozenset({Issuance.State.QUEUED, Issuance.State.HELD, Issuance.State.FAILED, Issuance.State.NOT_MET})
PERHAPS_SENT = Q(state__in=[Issuance.State.SENDING, Issuance.State.ISSUED]) | ~NOTHING_OPEN

# How many issuances one UPDATE names.
UPDATED_AT_ONCE = 500


def update_by_pk(pks: Sequence[int], where: Q, **values: Any) -> int:
    """Update those of the issuances with these primary keys that fit `where`; returns how many.

    `where` asks for columns of the row itself. PostgreSQL then asks again if a worker has changed the row since the
    statement began, which it does not for a query inside the UPDATE.
    """
    return sum(
        Issuance.objects.filter(where, pk__in=pks[start : start + UPDATED_AT_ONCE]).update(**values)
        for start in range(0, len(pks), UPDATED_AT_ONCE)
    )


def recipient_key(email: str, made_with: str) -> str:
    """The digest that stands for an e-mail address, the same for all its spellings that Navigatr may keep.

    `made_with` names the keys: those in use (`digests.in_use`), or those of the digest that it is compared with. Raises
    digests.WrongDigestKey.
    """
    return digests.digest(recipient_address(email), made_with)


class AppendOnly(Exception):
    """An audit row was to be changed or deleted."""


class AppendOnlyQuerySet(models.QuerySet[Any]):
    """Rows that can be added and read."""

    def update(self, **kwargs: Any) -> int:
        """Refused: what happened stays as it happened."""
        raise AppendOnly

    def delete(self) -> Any:
        """Refused: the audit trail is kept."""
        raise AppendOnly


class AppendOnlyModel(models.Model):
    """A row that is written once and never changed or deleted: what happened stays as it happened."""

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; a row that stands is never changed (the database refuses it too)."""
        if self.pk is not None:
            raise AppendOnly
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: the audit trail is kept."""
        raise AppendOnly


# Attempts after which an issuance needed a person.
ENDED_IN_FAILURE = Q(next_attempt_at=None, outcome__in=[*FAILING, *MAY_PASS])


class IssuanceAttempt(AppendOnlyModel):
    """One audit row: an attempt to issue, a look-up, or a decision not to call. Never changed, never deleted.

    Personal data: none. It keeps codes, and names of fields that the portal itself sends. What others said in words
    stands in an AttemptWords beside it.
    """

    class Kind(models.TextChoices):
        SEND = "send", _("Issue")
        LOOKUP = "lookup", _("Look-up")
        DECISION = "decision", _("Decided without a call")

    issuance = models.ForeignKey(
        Issuance, on_delete=models.PROTECT, related_name="attempts", verbose_name=_("issuance")
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    at = models.DateTimeField(_("time"))
    duration = models.DurationField(_("duration"), null=True)
    status = models.PositiveSmallIntegerField(_("HTTP status"), null=True)
    outcome = models.CharField(_("outcome"), max_length=20, choices=Outcome)
    fields = models.CharField(_("malformed fields"), max_length=255, blank=True)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True)
    environment = models.CharField(_("environment"), max_length=10, choices=Environment)
    provider_id = models.PositiveBigIntegerField(_("provider id"))
    badge_id = models.PositiveBigIntegerField(_("badge id"))

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["outcome", "-id"], name="attempt_by_outcome"),
            models.Index(fields=["-at"], name="attempt_by_time"),
            # What failed on a day.
            models.Index(fields=["environment", "at"], condition=ENDED_IN_FAILURE, name="failed_by_time"),
        ]

    def __str__(self) -> str:
        return f"{moment(self.at)} {self.get_outcome_display()}"

    @property
    def meaning(self) -> Meaning:
        """What happened and what to do, in plain words."""
        return MEANINGS[self.outcome]

    @property
    def detail(self) -> str:
        """What Navigatr said in words, "" when it said nothing or that is not kept any more. For staff only."""
        return self.words.detail if hasattr(self, "words") else ""

    @property
    def looked_up(self) -> str:
        """What was looked at, as above."""
        return self.words.looked_up if hasattr(self, "words") else ""


class AttemptWords(models.Model):
    """What Navigatr said in words in an attempt, and what was looked at. For staff only, and not for long.

    Personal data: the learner's name and address are taken out of the words as well as can be, but other text may
    still name somebody. So the row is deleted after WORDS_KEPT, and at once when the learner is erased.
    """

    attempt = models.OneToOneField(
        IssuanceAttempt, on_delete=models.PROTECT, primary_key=True, related_name="words", verbose_name=_("attempt")
    )
    at = models.DateTimeField(_("time"), db_index=True)
    detail = models.TextField(_("Navigatr's message"), blank=True)
    looked_up = models.TextField(_("what was looked up"), blank=True)

    class Meta:
        verbose_name = _("words of an attempt")
        verbose_name_plural = _("words of attempts")

    def __str__(self) -> str:
        return str(self.attempt)


class AuditEntry(AppendOnlyModel):
    """What a person (or a command) did: connected, mapped, removed, exported, erased.

    Personal data: which user of the portal did it. Learners are named by their id only.
    """

    class Action(models.TextChoices):
        CONNECTION_SAVED = "connection_saved", _("Connection saved")
        CONNECTION_TESTED = "connection_tested", _("Connection tested")
        CONNECTION_PAUSED = "connection_paused", _("Connection paused")
        CONNECTION_RESUMED = "connection_resumed", _("Connection resumed")
        CONNECTION_REMOVED = "connection_removed", _("Connection removed")
        CONNECTION_OPENED = "connection_opened", _("Connection opened")
        CONNECTION_CLOSED = "connection_closed", _("Connection closed")
        CONNECTION_WENT_LIVE = "went_live", _("Courses went live")
        SITE_SAVED = "site_saved", _("Moodle site saved")
        SITE_CONFIRMED = "site_confirmed", _("Confirmed as the same Moodle")
        FEED_CHANGED = "feed_changed", _("Moodle is read in another way")
        MAPPING_SAVED = "mapping_saved", _("Mapping created")
        MAPPING_CHANGED = "mapping_changed", _("Mapping changed")
        MAPPING_ENABLED = "mapping_enabled", _("Mapping enabled")
        MAPPING_DISABLED = "mapping_disabled", _("Mapping disabled")
        MAPPING_REMOVED = "mapping_removed", _("Mapping removed")
        PAST_RELEASED = "past_released", _("Past completions released")
        PAST_LOOKED_FOR = "past_looked_for", _("Past completions looked for")
        PAST_STOPPED = "past_stopped", _("Past completions stopped")
        PAST_DECLINED = "past_declined", _("Past completions not sent")
        BADGE_BACK = "badge_back", _("Badge can be issued again")
        SENT_AGAIN = "sent_again", _("Sent again by hand")
        CANCELLED = "cancelled", _("Cancelled by hand")
        LOOKED_UP = "looked_up", _("Looked up again by hand")
        BULK_STARTED = "bulk_started", _("Background action started")
        BULK_STOPPED = "bulk_stopped", _("Background action stopped")
        BULK_ENDED = "bulk_ended", _("Background action ended")
        BULK_FAILED = "bulk_failed", _("Background action given up")
        SCHEDULE_CHANGED = "schedule_changed", _("Schedule changed")
        LEARNER_EXPORTED = "learner_exported", _("Learner's data exported")
        LEARNER_ERASED = "learner_erased", _("Learner's data erased")
        SIGNED_IN = "signed_in", _("Signed in")
        SIGNED_OUT = "signed_out", _("Signed out")
        SIGN_IN_FAILED = "sign_in_failed", _("Wrong password")
        SIGN_IN_LOCKED = "sign_in_locked", _("Must wait after wrong sign-ins")
        SIGN_IN_RELEASED = "sign_in_released", _("Sign-in released")
        PASSWORD_CHANGED = "password_changed", _("Password changed")
        RESET_SENT = "reset_sent", _("Link for a new password sent")
        PASSWORD_RESET = "password_reset", _("Password chosen by a link")
        FACTOR_ADDED = "factor_added", _("Second factor added")
        FACTOR_REMOVED = "factor_removed", _("Second factor removed")
        FACTOR_RENEWED = "factor_renewed", _("Recovery codes renewed")
        FACTOR_FAILED = "factor_failed", _("Wrong second factor")
        ACCOUNT_LINKED = "account_linked", _("Single sign-on used for the first time")
        SIGN_ON_REFUSED = "sign_on_refused", _("Single sign-on refused")
        USER_CREATED = "user_created", _("User created")
        USER_INVITED = "user_invited", _("User invited")
        USER_CHANGED = "user_changed", _("User changed")
        USER_DEACTIVATED = "user_deactivated", _("User deactivated")
        USER_REACTIVATED = "user_reactivated", _("User reactivated")
        USER_DELETED = "user_deleted", _("User deleted")
        ROLES_CHANGED = "roles_changed", _("Roles changed")
        GROUP_CHANGED = "group_changed", _("Group changed")
        MANAGER_GRANTED = "manager_granted", _("Course manager added")
        MANAGER_REMOVED = "manager_removed", _("Course manager removed")
        PASSWORD_LINK = "password_link", _("Password link made")
        PASSWORD_SET = "password_set", _("Password set")
        SIGNED_OUT_ALL = "signed_out_all", _("Signed out everywhere")

    at = models.DateTimeField(_("time"), auto_now_add=True, db_index=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("who")
    )
    # Stays whatever becomes of the account.
    actor_name = models.CharField(_("who"), max_length=150, blank=True, editable=False)
    action = models.CharField(_("what"), max_length=20, choices=Action)
    subject = models.CharField(_("of what"), max_length=255)
    details = models.JSONField(_("details"), default=dict)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["action", "-id"], name="audit_by_action"),
            models.Index(fields=["actor_name", "-id"], name="audit_by_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.subject}"


class AuditedIssuance(AppendOnlyModel):
    """That an audit entry is about an issuance, so that its page can say who did what to it.

    Personal data: none.
    """

    entry = models.ForeignKey(AuditEntry, on_delete=models.PROTECT, related_name="issuances")
    issuance = models.ForeignKey(Issuance, on_delete=models.PROTECT, related_name="audited")

    class Meta:
        default_permissions = ()
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.entry_id}: {self.issuance_id}"


class BulkRunQuerySet(models.QuerySet["BulkRun"]):
    """Questions about background actions."""

    def to_be_worked_on(self, now: datetime) -> "BulkRunQuerySet":
        """Those that wait for a worker, or whose worker has died."""
        died = Q(state=BulkRun.State.RUNNING, leased_until__lte=now)
        return self.filter(Q(state=BulkRun.State.WAITING) | died)


class BulkRun(models.Model):
    """One action on many issuances, done in batches by a worker: which ones, how far it is, and how it ended.

    The issuances are either the chosen ones, or all of a course that have failed, for one reason or for any.

    Personal data: which users of the portal started and stopped it. Issuances are named by their ids.
    """

    class Kind(models.TextChoices):
        SEND_AGAIN = "send_again", _("Send again")
        LOOK_UP = "look_up", _("Look up again")
        CANCEL = "cancel", _("Cancel")

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting for a worker")
        RUNNING = "running", _("Running")
        STOPPED = "stopped", _("Stopped")
        DONE = "done", _("Done")
        FAILED = "failed", _("Given up after faults")

    kind = models.CharField(_("action"), max_length=10, choices=Kind)
    course = models.ForeignKey(
        Course, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("all that failed of the course")
    )
    reason = models.CharField(_("only those that failed because"), max_length=20, choices=Outcome, blank=True)
    # The ids of the issuances as they were when it was asked for, in order; none once it has ended.
    chosen = models.JSONField(default=list)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("started by")
    )
    total = models.PositiveIntegerField(_("issuances"))
    done = models.PositiveIntegerField(_("done"), default=0)
    changed = models.PositiveIntegerField(_("changed"), default=0)
    # How many workers in a row took it and did not come to the end of a batch.
    failures = models.PositiveSmallIntegerField(_("faults"), default=0)
    # The batches go up by id: all up to `after` are done.
    after = models.PositiveBigIntegerField(default=0)
    last = models.PositiveBigIntegerField()
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.WAITING)
    claim = models.UUIDField(null=True)
    leased_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(_("asked for"))
    started_at = models.DateTimeField(_("started"), null=True)
    ended_at = models.DateTimeField(_("ended"), null=True)
    stopped_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("stopped by")
    )

    objects = BulkRunQuerySet.as_manager()

    class Meta:
        # Who may view issuances may view it, and who may change them may start and stop it.
        default_permissions = ()
        verbose_name = _("background action")
        verbose_name_plural = _("background actions")
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(state="running") | (Q(leased_until__isnull=False) & Q(claim__isnull=False)),
                name="running_has_a_lease",
            ),
        ]
        indexes = [
            models.Index(
                fields=["state"], condition=Q(state__in=["waiting", "running", "failed"]), name="bulk_runs_told"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} ({self.total})"

    @property
    def is_open(self) -> bool:
        """Whether something is still to be done."""
        return self.state in (BulkRun.State.WAITING, BulkRun.State.RUNNING)

    @property
    def left_alone(self) -> int:
        """How many could not be changed, as their state did not allow it."""
        return self.done - self.changed


class CourseManager(models.Model):
    """That a user of the portal looks after a course's badge.

    Personal data: which user.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="managed_courses", verbose_name=_("user")
    )
    course = models.ForeignKey(Course, on_delete=models.CASCADE, related_name="managers", verbose_name=_("course"))

    class Meta:
        verbose_name = _("course manager")
        verbose_name_plural = _("course managers")
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["user", "course"], name="manages_a_course_once")]

    def __str__(self) -> str:
        return f"{self.user} – {self.course.full_label}"


class ScheduledTask(_PeriodicTask):
    """A row of the schedule, as the portal shows it. `badging.schedule` says which there should be.

    Personal data: none.
    """

    class Meta:
        proxy = True
        verbose_name = _("scheduled task")
        verbose_name_plural = _("scheduled tasks")


class Heartbeat(models.Model):
    """When beat, or a worker with one of the scheduled tasks, last gave a sign of life (`badging.schedule`).

    Personal data: none.
    """

    name = models.CharField(max_length=100, primary_key=True)
    at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class DayCount(models.Model):
    """What happened on one day, in the portal's zone, in one environment (`badging.days`). Can be counted again.

    Personal data: none.
    """

    day = models.DateField()
    environment = models.CharField(max_length=10, choices=Environment)
    issued = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
    # Of how many badges the delay is known, and from completion to badge: half of them, and 95 of 100, took no longer.
    timed = models.PositiveIntegerField()
    median_delay = models.DurationField(null=True)
    p95_delay = models.DurationField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["day", "environment"], name="one_count_per_day")]

    def __str__(self) -> str:
        return f"{self.day} {self.environment}"
