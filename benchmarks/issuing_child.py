"""One process of `benchmarks.issuing`: the bare loop, filling the queue, or the portal's real sending path."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import local

THREADS = 64


def bare(url: str, token: str, count: int) -> None:
    """The limit: 64 threads, a `requests.Session` each, nothing but the same PUTs, and their JSON read."""
    import requests

    mine = local()

    def put(number: int) -> None:
        if not hasattr(mine, "session"):
            mine.session = requests.Session()
            mine.session.headers["X-Access-Token"] = token
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
        answer = mine.session.put(f"{url}/badge/111/issue", json=fields, timeout=30)
        answer.raise_for_status()
        answer.json()

    started = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        for _done in pool.map(put, range(count)):
            pass
    print(json.dumps({"count": count, "seconds": time.monotonic() - started}))


def queue(count: int) -> None:
    """Queue so many completions of one course."""
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
        since=now - timedelta(days=1),
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
            Completion(course=course, learner=row, completed_at=now, time_source="report", score=80, seen_at=now)
            for row in learners
        )
        with transaction.atomic():
            queueing.queue_completions(completions, now=now)


def send() -> None:
    """Say that all is loaded, wait for the word, send all that is due, say how it went."""
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
