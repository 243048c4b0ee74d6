"""Whatever a person is called in Moodle is what a badge is sent with, whichever feed tells of it."""

from dataclasses import astuple, dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from badging.models import Issuance, NavigatrConnection
from badging.sending.calls import payload
from moodle_sync.client.records import Report, ReportPage
from moodle_sync.client.report_cells import AGREED_HEADERS, AGREED_NAME, AGREED_SOURCE, ReportRow, parse_page
from moodle_sync.models import Completion, Feed, MoodleSite
from moodle_sync.polling import PollResult
from sandbox import MOODLE
from sandbox.moodle_text import escaped, holds_tag

from .polled import Polled

SITE = "http://moodle.example"
USERS = "core_user_get_users_by_field"
# What goes wrong where texts are escaped, cut, trimmed or composed, and what people are called.
PIECES = [
    *"&<>\"'`;#%+\\/{}|=",
    *("&amp;", "&lt;", "&gt;", "&quot;", "&#039;", "&#39;", "&#x27;", "&apos;", "&eacute;", "&nbsp;", "&amp;amp;"),
    *("O'Brien", "D’Arcy", "Amp &amp; Sand", "N/A", "Łukasz", "Zoë", "Nguyễn", "Ann", "null", "0"),
    *(" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u200b", "\u3000"),
    *("e\u0301", "é", "\u00c5", "A\u030a", "ﬁ", "ß", "İ", "ǅ"),
    *("محمد", "עברית", "\u202eabc\u202c", "\u200f", "😀", "👩\u200d🚀", "🏴\u200d☠️", "日本語", "\U00020000"),
    *("{mlang en}", "{mlang}", "%s", "{0}", "\x01", "\x7f", "\ufeff", "\ufffd", "\uffff"),
]
# PostgreSQL and PHP's JSON know neither NUL nor half characters, so Moodle stores none.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
# Moodle's names are up to 100 characters long.
ANY_TEXT = st.one_of(
    st.text(CHARACTERS, min_size=1, max_size=100),
    st.lists(st.one_of(st.sampled_from(PIECES), CHARACTERS), min_size=1, max_size=12).map(lambda parts: "".join(parts)),
).filter(lambda text: len(text) <= 100)
# Moodle refuses its lists of accounts for names with a tag.
NAMES = ANY_TEXT.filter(lambda text: not holds_tag(text))
TEXTS_WITH_TAGS = ANY_TEXT.map(lambda text: f"{text[:90]}<{text[:1]}i>").filter(holds_tag)
# An address has no blanks around it; what stands before the @ may be anything that Moodle takes for an address.
LOCAL_PARTS = st.text("abcÄé'&+.=_-/#", min_size=1, max_size=20)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody's texts, as Moodle stores them."""

    firstname: str
    lastname: str
    email: str


PEOPLE = st.lists(st.builds(Person, NAMES, NAMES, LOCAL_PARTS), min_size=30, max_size=40).map(
    lambda people: [
        Person(one.firstname, one.lastname, f"{one.email}{number}@example.org") for number, one in enumerate(people)
    ]
)


def read_from_report(person: Person) -> ReportRow:
    """The person as read from a report's row."""
    name = f"{person.firstname} {person.lastname}"
    cells: list[str | None] = [
        f'<a href="{SITE}/course/view.php?id=2">Safeguarding</a>',
        "SAFE101",
        # Not escaped at all.
        f'<a href="{SITE}/user/profile.php?id=19">{name}</a>',
        "username",
        escaped(person.firstname),
        escaped(person.lastname),
        escaped(person.email),
        "Yes",
        "Monday, 23 November 2026, 8:03 AM",
        "",
    ]
    details = Report(id=2, name=AGREED_NAME, source=AGREED_SOURCE, timemodified=None)
    found = parse_page(ReportPage(details, 0, list(AGREED_HEADERS), [cells], 1), site_urls=[SITE])
    assert (found.problems, found.warnings) == ([], [])
    [row] = found.rows
    return row


def as_the_report_tells(text: str) -> str:
    """The one thing that a report's cell does not tell: whether an apostrophe was stored as an entity."""
    return text.replace("&#039;", "'")


@pytest.mark.slow
@given(ANY_TEXT, ANY_TEXT, LOCAL_PARTS)
@settings(max_examples=500)
def test_any_text_survives_the_reports_cell(firstname: str, lastname: str, local: str) -> None:
    person = Person(firstname, lastname, f"{local}@example.org")
    row = read_from_report(person)
    assert (row.course_id, row.user_id) == (2, 19)
    assert row.firstname == as_the_report_tells(person.firstname)
    assert row.lastname == as_the_report_tells(person.lastname)
    assert row.email == as_the_report_tells(person.email)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What one poll made of people who have all completed a course, in their order; None for who was not read."""

    ids: list[int]
    stored: list[Person | None]
    sent: list[Person | None]
    scores: list[Decimal | None]
    result: PollResult


def poll(people: list[Person], *, feed: Feed, without: str = "") -> Arrived:
    """Let them complete a course of a new Moodle, which lacks the function `without`, and poll it once."""
    world = Polled()
    with world.sandbox:
        world.connect(name=f"Moodle {MoodleSite.objects.count()}")
        if feed == Feed.PER_LEARNER:
            world.without_report()
        if without:
            world.sandbox.faults.on("missing_function", side=MOODLE, call=without)
        course = world.course()
        ids = [world.moodle.add_learner(one.firstname, one.lastname, one.email) for one in people]
        world.moodle.complete_many(course.moodle_id, ids, world.now.timestamp(), grade=80)
        result = world.poll()
        assert world.site.state.feed == feed
    rows = {row.learner.moodle_id: row for row in Completion.objects.filter(course=course).select_related("learner")}
    found = [rows.get(number) for number in ids]
    return Arrived(
        ids=ids,
        stored=[
            Person(row.learner.firstname, row.learner.lastname, row.learner.email) if row else None for row in found
        ],
        sent=[sent(row) if row else None for row in found],
        scores=[row.score if row else None for row in found],
        result=result,
    )


def sent(completion: Completion) -> Person:
    """Who the completion's badge is sent to."""
    owed = Issuance(
        completion=completion,
        course=completion.course,
        learner=completion.learner,
        connection=NavigatrConnection(),
    )
    fields = payload(owed, now=completion.seen_at)
    return Person(fields["recipient_firstname"], fields["recipient_lastname"], fields["recipient_email"])


# The database is rolled back at the end only: each example has a Moodle of its own.
A_FEW = settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
ODD = [
    Person("Siobhán", "O'Connor", "siobhan.o'connor+badge@example.org"),
    Person("Amp &amp; Sand", "Lt &lt; Sign", "a&b@example.org"),
    Person("O&#039;N", "O&#39;N &#x27;", "o&#39;n@example.org"),
    Person(" Lead", "Double  Space ", "lead@example.org"),
    Person("2 < 3", "\"A\" & 'B'", "less@example.org"),
    Person("Zoe\u0308", "Zoë", "zoe\u0308@example.org"),
    Person("\u202eabc", "محمد 👩\u200d🚀", "m@example.org"),
]


@pytest.mark.slow
@pytest.mark.django_db
@A_FEW
@example(ODD)
@given(PEOPLE)
def test_any_text_arrives_unchanged_by_either_feed(people: list[Person]) -> None:
    by_report = poll(people, feed=Feed.REPORT)
    by_learner = poll(people, feed=Feed.PER_LEARNER)
    for arrived in (by_report, by_learner):
        assert (arrived.result.error, arrived.result.problems) == ("", [])
        assert arrived.stored == people
        assert arrived.sent == people
    assert by_report.sent == by_learner.sent


@pytest.mark.django_db
@A_FEW
@example(ODD)
@given(PEOPLE)
def test_without_the_accounts_the_report_leaves_one_thing_open(people: list[Person]) -> None:
    arrived = poll(people, feed=Feed.REPORT, without=USERS)
    told = [Person(*(as_the_report_tells(text) for text in astuple(one))) for one in people]
    assert arrived.stored == arrived.sent == told


TAGGED = [
    Person("Ann <Annie>", "Lee", "ann@example.org"),
    Person("Sam", "O'Hara", "s.o'hara@example.org"),
    Person("<Test>", "<b>Bold</b> & Söhne", "test@example.org"),
    Person("Kit", "I <3 you", "kit@example.org"),
    Person("Less", "2 < 3", "less@example.org"),
]
WITH_TAGS = [0, 2, 3]


@pytest.mark.django_db
def test_names_with_tags_are_sent_as_the_report_has_them_and_so_are_the_others() -> None:
    arrived = poll(TAGGED, feed=Feed.REPORT)
    assert arrived.sent == TAGGED
    # Moodle tells no grade of theirs either, which is said of each by id.
    assert [score is None for score in arrived.scores] == [number in WITH_TAGS for number in range(len(TAGGED))]
    assert arrived.result.error == ""
    for number, user_id in enumerate(arrived.ids):
        told = any(f"learner {user_id}:" in line and "<Test>" in line for line in arrived.result.problems)
        assert told is (number in WITH_TAGS)


@pytest.mark.django_db
def test_without_the_report_names_with_tags_are_problems_and_the_others_are_sent() -> None:
    arrived = poll(TAGGED, feed=Feed.PER_LEARNER)
    assert arrived.sent == [None if number in WITH_TAGS else one for number, one in enumerate(TAGGED)]
    assert arrived.result.error == ""
    for number in WITH_TAGS:
        assert any(f"participant number {number + 1} of" in line for line in arrived.result.problems)
    assert len(arrived.result.problems) == len(WITH_TAGS)


@pytest.mark.slow
@pytest.mark.django_db
@A_FEW
@given(st.lists(st.builds(Person, TEXTS_WITH_TAGS, ANY_TEXT, st.just("")), min_size=30, max_size=40))
def test_any_text_with_a_tag_arrives_as_the_report_has_it(people: list[Person]) -> None:
    people = [replace(one, email=f"p{number}@example.org") for number, one in enumerate(people)]
    arrived = poll(people, feed=Feed.REPORT)
    told = [Person(*(as_the_report_tells(text) for text in astuple(one))) for one in people]
    assert arrived.sent == told
