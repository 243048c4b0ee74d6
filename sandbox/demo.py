"""The data of the demo. The tokens are no secrets: they are valid in the sandbox only."""

from __future__ import annotations

from .moodle import TEACHER, Moodle
from .navigatr import Navigatr

DEMO_MOODLE_TOKEN = "demo-moodle-token-not-a-secret"  # noqa: S105 - valid in the sandbox only
DEMO_PAT = "demo-navigatr-staging-token-not-a-secret"
DEMO_PRODUCTION_PAT = "demo-navigatr-production-token-not-a-secret"
# The two environments share no ids, so that an id of the wrong environment is not found.
STAGING_FIRST_ID = 11
PRODUCTION_FIRST_ID = 7011
DEMO_PROVIDER_ID = STAGING_FIRST_ID
DEMO_BADGE_ID = STAGING_FIRST_ID + 100
DEMO_COURSE = "SAFE101"

LEVELS = ("Foundation", "Essentials", "Practitioner", "Advanced", "Leader")
SUBJECTS = (
    "Safeguarding",
    "Café & Éthique",
    "Data Protection",
    "Fire Safety",
    "First Aid",
    "Manual Handling",
    "Lone Working",
    "Food Hygiene",
    "Mental Health",
    "Equality",
    "Digital Skills",
    "Team Leading",
    "Project Work",
    "Public Speaking",
    "Sustainability",
    "Customer Care",
    "Risk Assessment",
    "Interviewing",
    "Coaching",
    "Accessibility",
    "Volunteering",
    "Mentoring",
    "Budgeting",
    "Cyber Security",
    "Hygiène alimentaire",
)
LEARNERS = (
    ("Aisha", "Williams"),
    ("Ümit", "Tran"),
    ("Ольга", "Иванова"),
    ("Nguyễn", "Van der Berg"),
    ("Şebnem", "Öztürk"),
    ("陈", "Mensah"),
    ("Björn", "Fernández-López"),
    ("Zoë", "O’Brien"),
    ("Łukasz", "Nowak"),
    ("Ngozi", "Lindström"),
    ("Chloé", "Müller"),
    ("يوسف", "Adeyemi"),
)


def seed_navigatr(navigatr: Navigatr) -> None:
    """Add two providers that the account may issue for, one that it may not, and enough badges for three pages.

    The first provider and the first badge have the environment's first ids. The first badge is published.
    """
    college = navigatr.add_provider("Northgate College")
    academy = navigatr.add_provider("Südstadt Academy")
    foreign = navigatr.add_provider("Somebody Else's Institute", admin=False)
    navigatr.add_badge(college, "Safeguarding Essentials")
    names = [f"{subject} {level}" for subject in SUBJECTS for level in LEVELS]
    # The first two are "Safeguarding Foundation" and the badge above.
    for name in names[2:]:
        navigatr.add_badge(college, name)
    for status in ("Draft", "Expired"):
        navigatr.add_badge(college, f"Evacuation Marshal ({status.lower()})", status=status)
    for source in ("Credly", "Open University"):
        navigatr.add_badge(college, f"Cloud Basics ({source})", source=source)
    navigatr.add_badge(college, "Distinction (80 % and more)", min_score=80)
    navigatr.add_badge(college, "Reflective Practice (with evidence)", needs_evidence=True)
    navigatr.add_badge(academy, "Welcome to the Academy")
    navigatr.add_badge(foreign, "Not Yours to Issue")
    navigatr.add_badge(college, "Partner of the College (for organisations)", recipient_type="Organisation")


def seed_moodle(moodle: Moodle) -> None:
    """Add three courses, a teacher, and twelve learners who have not completed a course."""
    courses = [
        moodle.add_course(DEMO_COURSE, "Safeguarding Essentials", idnumber="SG-101"),
        moodle.add_course("ÉTH-1", "Café & “Éthique” niveau 1 — 日本語", criteria="grade", grademax=20),
        moodle.add_course("GDPR26", "Data Protection 2026", criteria="activities", grademax=30),
    ]
    teacher = moodle.add_learner("Hélène", "Marsh", "helene.marsh@example.org", username="hmarsh")
    for course in courses:
        moodle.enrol(course, teacher, role=TEACHER)
    for number, (firstname, lastname) in enumerate(LEARNERS, start=1):
        learner = moodle.add_learner(firstname, lastname, f"learner{number:02d}@example.org")
        for course in courses:
            moodle.enrol(course, learner)
        moodle.set_grade(courses[0], learner, 50 + number * 4)
