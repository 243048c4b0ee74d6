"""Moodle sites, and the courses, learners and completions that are read from them."""

from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from outbound_http import web_address
from vault.fields import EncryptedTextField

from .addresses import has_visible_character, is_possible_address, recipient_address
from .client.functions import LEARNER_FEED, REPORT_FEED
from .history import Versions
from .plain_letters import PlainLettersField

# The longest wait after polls that failed.
LONGEST_PAUSE = timedelta(hours=1)
# The limits of poll intervals.
_INTERVALS = [MinValueValidator(timedelta(seconds=1)), MaxValueValidator(timedelta(days=1))]


class Feed(models.TextChoices):
    """How completions are read from a site."""

    REPORT = REPORT_FEED, _("A: report feed")
    PER_LEARNER = LEARNER_FEED, _("B: per learner")
    NONE = "", _("none usable")


class Trouble(models.TextChoices):
    """Why the last poll failed, in the words of a sentence."""

    NONE = "", _("nothing")
    TOKEN = "token", _("Moodle refused the token")
    UNAVAILABLE = "unavailable", _("Moodle does not answer")
    NOT_ALLOWED = "not_allowed", _("the portal's account may not read it")
    OTHER = "other", _("it could not be read")


class MoodleSiteQuerySet(models.QuerySet["MoodleSite"]):
    """Queries of sites."""

    def due(self, now: datetime) -> "MoodleSiteQuerySet":
        """Sites whose next poll is due and that are not being polled."""
        return self.filter(pk__in=MoodleSiteState.objects.due(now).values("site"))


class MoodleSite(models.Model):
    """A Moodle site as an admin enters it. What the portal finds out about it is in its `state`.

    Personal data: none; the token belongs to a service account.
    """

    name = models.CharField(_("name"), max_length=100, unique=True)
    url = models.URLField(_("address"), max_length=500, help_text=_("The address of the Moodle site's front page."))
    token = EncryptedTextField(_("web-service token"), blank=True)
    enabled = models.BooleanField(_("enabled"), default=True, help_text=_("Untick to stop polling this site."))
    poll_interval = models.DurationField(
        _("poll interval"),
        default=timedelta(minutes=1),
        validators=_INTERVALS,
        help_text=_("How long to wait between two polls while nobody completes a course, as hours:minutes:seconds."),
    )
    busy_interval = models.DurationField(
        _("poll interval while busy"),
        default=timedelta(seconds=5),
        validators=_INTERVALS,
        help_text=_(
            "How long to wait between two polls while people complete courses, as hours:minutes:seconds. Never longer "
            "than the interval above."
        ),
    )
    send_suspended = models.BooleanField(
        _("issue to suspended accounts"),
        default=True,
        help_text=_("Untick to hold back badges of learners whose Moodle account is suspended."),
    )

    history = Versions(("name", "url", "enabled", "poll_interval", "busy_interval", "send_suspended"), hidden="token")
    objects = MoodleSiteQuerySet.as_manager()

    class Meta:
        verbose_name = _("Moodle site")
        verbose_name_plural = _("Moodle sites")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the site; a new one gets its state in the same transaction."""
        is_new = self.pk is None
        with transaction.atomic():
            super().save(*args, **kwargs)
            if is_new:
                MoodleSiteState.objects.create(site=self)

    @property
    def site_urls(self) -> set[str]:
        """The addresses that the site's own links may begin with."""
        return {url for url in (self.url, self.state.wwwroot) if url}

    def pause_after(self, failures: int) -> timedelta:
        """The wait after this many failed polls in a row: the poll interval doubled each time, at most an hour.

        Never shorter than the poll interval.
        """
        doubled: timedelta = self.poll_interval * 2 ** min(failures, 12)
        return max(self.poll_interval, min(doubled, LONGEST_PAUSE))

    def pace_after(self, pace: timedelta | None, *, busy: bool) -> timedelta:
        """The wait before the next poll, where `pace` was the wait before the last one.

        After a poll with new completions (`busy`) it is the shorter interval. Otherwise it doubles each time, up to the
        poll interval.
        """
        shortest = min(self.busy_interval, self.poll_interval)
        if busy or pace is None:
            return shortest if busy else self.poll_interval
        return min(max(2 * pace, shortest), self.poll_interval)


class MoodleSiteStateQuerySet(models.QuerySet["MoodleSiteState"]):
    """Queries of sites that may be polled.

    They use columns of this table: if another poll changes a row while an UPDATE waits for it, PostgreSQL evaluates
    conditions on the updated table again, but not those on joined tables.
    """

    def due(self, now: datetime) -> "MoodleSiteStateQuerySet":
        """States of sites whose next poll is due and that are not being polled."""
        return self.free(now).filter(Q(next_poll_at=None) | Q(next_poll_at__lte=now))

    def free(self, now: datetime) -> "MoodleSiteStateQuerySet":
        """States of enabled sites that are not being polled and do not wait for an admin's answer."""
        readable = MoodleSite.objects.filter(pk=OuterRef("site"), enabled=True).exclude(token="")
        return self.filter(Q(polling_until=None) | Q(polling_until__lte=now), Exists(readable), doubt="")


class MoodleSiteState(models.Model):
    """What the portal knows about a site, and how far it has read it. Only checks and polls write it.

    Personal data: `error` may name learners by their Moodle user id, until the next poll or their erasure.
    """

    site = models.OneToOneField(
        MoodleSite, on_delete=models.CASCADE, primary_key=True, related_name="state", verbose_name=_("site")
    )
    # The results of the last check.
    checked_at = models.DateTimeField(_("last checked"), null=True)
    findings = models.JSONField(_("last findings"), default=list)
    wwwroot = models.URLField(_("Moodle's own address"), max_length=500, blank=True)
    functions = models.JSONField(default=list)
    feed = models.CharField(_("feed"), max_length=1, choices=Feed, blank=True)
    report_id = models.PositiveBigIntegerField(null=True)
    report_modified_at = models.DateTimeField(null=True)
    # The time zone of the report's times. While it is "" (unknown), these times are not used.
    zone = models.CharField(_("time zone of the report"), max_length=64, blank=True)
    clock_skew = models.DurationField(
        _("clock difference"), default=timedelta(0), help_text=_("How far Moodle's clock is ahead.")
    )
    # The question to an admin whether this is still the same Moodle, or "". Polls wait for the answer.
    doubt = models.TextField(_("question"), blank=True)
    confirmed_at = models.DateTimeField(_("confirmed as the same Moodle"), null=True)
    # True from that answer until everything has been read once. Changes then raise no question.
    accepts_changes = models.BooleanField(default=False)
    # Known learners that changed since the last full reading; those whose whole name and address changed at once.
    people_changed = models.PositiveIntegerField(default=0)
    strangers = models.PositiveIntegerField(default=0)
    # How far it has been read. `looked_back_at` has a time for each of the depths in report_feed.py.
    read_up_to = models.DateTimeField(
        _("read up to"), null=True, help_text=_("Start of the last poll that was read to its end.")
    )
    looked_back_at = models.JSONField(default=dict)
    read_whole_at = models.DateTimeField(_("last full reading"), null=True)
    # Polls. `pace` is the current interval between two of them.
    polling_until = models.DateTimeField(null=True)
    last_poll_at = models.DateTimeField(_("last poll"), null=True)
    last_poll_took = models.DurationField(_("last poll took"), null=True)
    next_poll_at = models.DateTimeField(_("next poll"), null=True, db_index=True)
    pace = models.DurationField(_("current poll interval"), null=True)
    failures = models.PositiveIntegerField(_("polls failed in a row"), default=0)
    trouble = models.CharField(max_length=20, choices=Trouble, blank=True)
    error = models.TextField(_("what is wrong"), blank=True)

    objects = MoodleSiteStateQuerySet.as_manager()

    class Meta:
        verbose_name = _("state of a Moodle site")
        verbose_name_plural = _("states of Moodle sites")

    def __str__(self) -> str:
        return str(self.site)


class PollRecord(models.Model):
    """Five minutes of polls of a site, for the chart of how far behind the portal was. See `poll_records`.

    Personal data: none.
    """

    site = models.ForeignKey(MoodleSite, on_delete=models.CASCADE, related_name="poll_records", db_index=False)
    # When the five minutes began.
    at = models.DateTimeField(db_index=True)
    polls = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    new = models.PositiveIntegerField(default=0)
    longest = models.DurationField(default=timedelta(0))
    lag = models.DurationField(default=timedelta(0))

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["site", "at"], name="one_record_per_five_minutes")]

    def __str__(self) -> str:
        return f"{self.site_id} {self.at:%Y-%m-%d %H:%M}"


class Course(models.Model):
    """A course of a Moodle site.

    Personal data: `untracked` holds Moodle user ids of participants whose completion Moodle does not track. Erasure
    takes the person's out.
    """

    site = models.ForeignKey(MoodleSite, on_delete=models.PROTECT, related_name="courses", verbose_name=_("site"))
    moodle_id = models.PositiveBigIntegerField(_("Moodle id"))
    shortname = models.CharField(_("short name"), max_length=255, blank=True)
    fullname = models.CharField(_("full name"), max_length=1333, blank=True)
    # What searches look through. A word may stand anywhere in it, so no index leads there; but it is short, and even
    # 100,000 courses are looked through in a moment.
    search_text = PlainLettersField(of=("fullname", "shortname"))
    category_id = models.PositiveBigIntegerField(
        _("category id"),
        null=True,
        help_text=_("Of the course's own Moodle category, without the categories above it."),
    )
    category_name = models.CharField(_("category"), max_length=255, blank=True)
    visible = models.BooleanField(_("visible"), default=True)
    completion_enabled = models.BooleanField(_("completion tracking"), null=True)
    # The name in the report's cells, if it differs from `fullname`.
    report_name = models.CharField(max_length=1333, blank=True, editable=False)
    past_read_at = models.DateTimeField(
        _("past completions read"), null=True, editable=False, help_text=_("When the whole course was last read.")
    )
    gone_at = models.DateTimeField(_("deleted in Moodle"), null=True, editable=False)
    # Feed B: the next place in the list of participants, when this reading began, and whether it asks about everybody.
    next_offset = models.PositiveIntegerField(default=0, editable=False)
    reading_since = models.DateTimeField(null=True, editable=False)
    asks_everybody = models.BooleanField(default=False, editable=False)
    untracked = models.JSONField(default=list, editable=False)
    read_at = models.DateTimeField(_("last read"), null=True, editable=False)
    error = models.TextField(_("what is wrong"), blank=True, editable=False)

    class Meta:
        verbose_name = _("course")
        verbose_name_plural = _("courses")
        ordering = ["fullname", "pk"]
        constraints = [models.UniqueConstraint(fields=["site", "moodle_id"], name="one_row_per_course")]
        indexes = [
            models.Index(fields=["fullname", "id"], name="course_by_name"),
            # For the filter of the list, in its order.
            models.Index(fields=["fullname", "id"], condition=Q(gone_at__isnull=False), name="course_gone_by_name"),
        ]

    def __str__(self) -> str:
        return self.fullname or self.shortname or f"#{self.moodle_id}"

    @property
    def full_label(self) -> str:
        """The name, distinct from every other course: "Data Protection (GDPR26 · id 42 · Moodle)".

        Short names are unique in one Moodle, but a new course may have the short name of a deleted one.
        """
        return f"{self} ({' · '.join(filter(None, [self.shortname, f'id {self.moodle_id}', self.site.name]))})"

    @property
    def url(self) -> str:
        """The course's page in Moodle: a web address, or "" if the site has none."""
        home = web_address(self.site.state.wwwroot) or web_address(self.site.url)
        return f"{home}/course/view.php?id={self.moodle_id}" if home else ""


class Learner(models.Model):
    """A person in a Moodle site, identified by site and Moodle user id only.

    Personal data: first name, last name and e-mail address, which are stored only here, and the state of the account.
    Erasure blanks them. The Moodle user id stays: see docs/data-protection.md.
    """

    site = models.ForeignKey(MoodleSite, on_delete=models.PROTECT, related_name="learners", verbose_name=_("site"))
    moodle_id = models.PositiveBigIntegerField(_("Moodle user id"))
    firstname = models.CharField(_("first name"), max_length=255, blank=True)
    lastname = models.CharField(_("last name"), max_length=255, blank=True)
    # What a search among the learners of a course looks through.
    search_name = PlainLettersField(of=("firstname", "lastname"))
    email = models.CharField(_("e-mail address"), max_length=255, blank=True)
    email_key = models.CharField(max_length=255, blank=True, editable=False, db_index=True)
    names_hidden = models.BooleanField(
        _("names hidden"),
        default=False,
        help_text=_("Moodle leaves out the name or the address because a capability is missing."),
    )
    deleted = models.BooleanField(_("deleted in Moodle"), default=False)
    suspended = models.BooleanField(_("suspended in Moodle"), default=False)
    erased_at = models.DateTimeField(_("erased"), null=True, editable=False)

    class Meta:
        verbose_name = _("learner")
        verbose_name_plural = _("learners")
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["site", "moodle_id"], name="one_row_per_learner")]
        permissions = [
            ("export_learner", _("Can export everything held about a learner")),
            ("erase_learner", _("Can erase a learner")),
        ]

    def __str__(self) -> str:
        if self.erased_at:
            return str(_("erased learner %(id)s") % {"id": self.moodle_id})
        return f"{self.firstname} {self.lastname}".strip() or str(_("learner %(id)s") % {"id": self.moodle_id})

    @property
    def full_label(self) -> str:
        """The name, distinct from others of the same name in this Moodle: "Ana Lee (id 101)"."""
        named = not self.erased_at and (self.firstname or self.lastname)
        return f"{self} (id {self.moodle_id})" if named else str(self)

    @staticmethod
    def key_of(email: str) -> str:
        """The `email_key` of an address: the same for all its spellings."""
        return recipient_address(email)[:255]

    @property
    def profile_complete(self) -> bool:
        """Whether there are two visible names and a possible e-mail address, as Navigatr needs them."""
        named = has_visible_character(self.firstname) and has_visible_character(self.lastname)
        return named and is_possible_address(self.email)


class Completion(models.Model):
    """A learner's completion of a course: one row for both, even if the course is completed twice.

    `completed_at` is the first known time, which a badge may state; `completed_again_at` is that of a later completion.

    Personal data: when the person completed the course, and their score. Erasure blanks both.
    """

    class TimeSource(models.TextChoices):
        REPORT = "report", _("Moodle's report, to the minute")
        CRITERIA = "criteria", _("the last completed criterion")
        SEEN = "seen", _("when the portal first saw it; Moodle has no exact time")
        UNKNOWN = "unknown", _("unknown; completed before the portal first read the course")

    # Without an index, since one of the indexes below begins with this column.
    course = models.ForeignKey(
        Course, on_delete=models.PROTECT, related_name="completions", db_index=False, verbose_name=_("course")
    )
    learner = models.ForeignKey(
        Learner, on_delete=models.PROTECT, related_name="completions", verbose_name=_("learner")
    )
    completed_at = models.DateTimeField(_("completed"), null=True)
    time_source = models.CharField(_("time comes from"), max_length=10, choices=TimeSource)
    completed_again_at = models.DateTimeField(_("completed again"), null=True, editable=False)
    # Exact, rounded down: otherwise rounding could lift it to the minimum score.
    score = models.DecimalField(_("score in percent"), max_digits=9, decimal_places=6, null=True)
    score_hidden = models.BooleanField(_("course total hidden"), default=False)
    score_read_at = models.DateTimeField(_("score read"), null=True, editable=False)
    seen_at = models.DateTimeField(_("first seen"))
    confirmed_at = models.DateTimeField(
        _("last seen in Moodle"), editable=False, help_text=_("When Moodle last said that the course is completed.")
    )
    undone_at = models.DateTimeField(_("undone in Moodle"), null=True, editable=False)
    implausible = models.BooleanField(
        _("implausible date"), default=False, help_text=_("In the future, or before Moodle existed.")
    )

    class Meta:
        verbose_name = _("completion")
        verbose_name_plural = _("completions")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["course", "learner"], name="one_completion_per_course_and_learner"),
            models.CheckConstraint(condition=Q(score=None) | Q(score__lte=100), name="score_is_percent"),
            models.CheckConstraint(
                condition=Q(completed_at=None, time_source="unknown") | Q(completed_at__isnull=False),
                name="time_unless_unknown",
            ),
        ]
        indexes = [
            # For the filters of lists, newest first.
            models.Index(fields=["course", "-id"], name="completion_by_course"),
            models.Index(F("completed_at").desc(), name="completion_by_time"),
            models.Index(fields=["-id"], condition=Q(implausible=True), name="completion_implausible"),
            models.Index(fields=["-id"], condition=Q(undone_at__isnull=False), name="completion_undone"),
        ]

    def __str__(self) -> str:
        return f"{self.learner} – {self.course}"

    @property
    def last_completed_at(self) -> datetime | None:
        """The time of the last completion, or None."""
        return self.completed_again_at or self.completed_at

    @property
    def score_text(self) -> str:
        """The score as "59.5 %", with two decimals at most, rounded down; "" without a score."""
        return "" if self.score is None else f"{_plain(self.score)} %"


def _plain(number: Decimal) -> str:
    """The number without trailing zeros: 80, 59.5, 66.66."""
    return f"{number.quantize(Decimal('0.01'), ROUND_FLOOR):f}".rstrip("0").rstrip(".")
