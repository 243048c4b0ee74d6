"""A process of `benchmarks.issuing`: the bare thread pool, the filling of the queue, or a sender of the portal."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import local

# As many as SEND_THREADS.
THREADS = 64


def bare(url: str, token: str, count: int) -> None:
    """Make the PUTs with one `requests.Session` for each thread, and decode the answers."""
    import requests

    thread = local()

    def put(number: int) -> None:
        if not hasattr(thread, "session"):
            thread.session = requests.Session()
            thread.session.headers["X-Access-Token"] = token
        fields = {
            "provider_id": 11,
            "recipient_email": f"bare{number}@example.org",
            "recipient_firstname": "Ana",
            "recipient_lastname": "Lee",
            "issue_date": "2026-11-23T12:00:00+00:00",
            "score": 80,
            "evidence_text": "Recipient completed course Course One",
            "evidence_url": "https://moodle.example/course/view.php?id=2",
        }
        answer = thread.session.put(f"{url}/badge/111/issue", json=fields, timeout=30)
        answer.raise_for_status()
        answer.json()

    started = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        for _done in pool.map(put, range(count)):
            pass
    print(json.dumps({"count": count, "seconds": time.monotonic() - started}))


def queue(count: int) -> None:
    """Queue `count` completions of one course."""
    import django

    django.setup()
    from django.db import transaction
    from django.utils import timezone

    from badging import queueing
    from badging.models import CourseBadgeMapping, NavigatrConnection
    from moodle_sync.models import Completion, Course, Learner, MoodleSite

    now = timezone.now()
    site = MoodleSite.objects.create(name="M", url="https://moodle.example", token="token")
    course = Course.objects.create(site=site, moodle_id=2, fullname="Course One")
    CourseBadgeMapping.objects.create(
        course=course, connection=NavigatrConnection.objects.get(), provider_id=11, badge_id=111, badge_name="B",
        since=now - timedelta(days=1), by_admin=True,
    )  # fmt: skip
    for first in range(0, count, 1000):
        learners = Learner.objects.bulk_create(
            Learner(
                site=site, moodle_id=number, firstname="Ana", lastname="Lee", email=f"l{number}@example.org",
                email_key=f"l{number}@example.org",
            )
            for number in range(first, min(first + 1000, count))
        )  # fmt: skip
        completions = Completion.objects.bulk_create(
            Completion(
                course=course, learner=row, completed_at=now, time_source="report", score=80, seen_at=now,
                confirmed_at=now + timedelta(days=1),
            )
            for row in learners
        )  # fmt: skip
        with transaction.atomic():
            queueing.queue_completions(completions, now=now)


def send() -> None:
    """Load the portal, wait for the start, send everything that is due, print the result."""
    import django

    django.setup()
    from django.db import connection

    from badging.sending import rounds

    connection.ensure_connection()
    print("ready", flush=True)
    sys.stdin.readline()
    tally = rounds.send_all_due()
    print(json.dumps({"issued": tally.issued, "ended": time.monotonic()}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["bare", url, token, count]:
            bare(url, token, int(count))
        case ["queue", count]:
            queue(int(count))
        case ["send"]:
            send()
