"""What is typed into a search box or an address: ids, learners and courses, found by their indexes."""

from django.db.models import Q

from moodle_sync.models import Course, Learner, MoodleSite

from .. import privacy

# A search uses at most so many learners or courses; one that means more must be narrowed.
MOST_FOUND = 500
# Longer numbers are made up, and too large for the database.
LONGEST_KEY = 18


def is_key(text: str) -> bool:
    """Whether the text can be the primary key of a row."""
    return text.isascii() and text.isdecimal() and len(text) <= LONGEST_KEY


def learners_matching(term: str) -> list[int]:
    """The ids of at most MOST_FOUND learners: by e-mail address, Moodle user id, or names.

    The start of the present address will do, and a whole address that a badge was sent to.
    """
    term = term.strip()
    if term.isdecimal() and len(term) <= LONGEST_KEY:
        # The unique index begins with the site.
        found = Learner.objects.filter(site__in=list(MoodleSite.objects.values_list("pk", flat=True)), moodle_id=term)
    elif "@" in term:
        found = Learner.objects.filter(Q(email_key__startswith=Learner.key_of(term)) | Q(pk__in=privacy.sent_to(term)))
    else:
        found = Learner.objects.all()
        for word in term.split():
            found = found.filter(Q(firstname__istartswith=word) | Q(lastname__istartswith=word))
    return list(found.order_by().values_list("pk", flat=True)[:MOST_FOUND])


def courses_matching(term: str) -> list[int]:
    """The ids of at most MOST_FOUND courses whose full or short name starts with the term."""
    term = term.strip()
    found = Course.objects.filter(Q(fullname__istartswith=term) | Q(shortname__istartswith=term))
    return list(found.order_by().values_list("pk", flat=True)[:MOST_FOUND])
