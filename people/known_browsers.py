"""Browsers from which somebody has signed in before. They have a cookie that says for which accounts.

The cookie proves nothing but that: it opens no session. Whoever has it is counted apart from all others, so that a
stranger who guesses cannot keep the owner out (`people.guessing`).
"""

import secrets
from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare, salted_hmac

COOKIE = "known_browser"
AGE = timedelta(days=180)
# How many accounts of one browser are remembered; the oldest is forgotten first.
MOST_ACCOUNTS = 5
# Stands for no user in the proof that the number is ours.
_NOBODY = 0


def browser_number(request: HttpRequest, user_pk: int) -> str:
    """The random number of this browser if this user has signed in from it before, else ""."""
    number, proofs = _read(request)
    proof = _proof(number, user_pk)
    return number if any(constant_time_compare(proof, known) for known in proofs) else ""


def is_known(request: HttpRequest) -> bool:
    """Whether anybody has signed in from this browser before."""
    return bool(_read(request)[0])


def remember(request: HttpRequest, response: HttpResponse, user_pk: int) -> None:
    """Set the cookie that makes this browser a known one of this user."""
    number, proofs = _read(request)
    number = number or secrets.token_hex(16)
    proof = _proof(number, user_pk)
    proofs = [proof, *(known for known in proofs if known != proof)][:MOST_ACCOUNTS]
    response.set_cookie(
        COOKIE,
        ".".join([number, _proof(number, _NOBODY), *proofs]),
        max_age=AGE,
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Lax",
    )


def _read(request: HttpRequest) -> tuple[str, list[str]]:
    """The number of the browser and its proofs for accounts; nothing of a cookie that is not ours."""
    number, *proofs = request.COOKIES.get(COOKIE, "").split(".")
    if not proofs or not constant_time_compare(proofs[0], _proof(number, _NOBODY)):
        return "", []
    return number, proofs[1 : MOST_ACCOUNTS + 1]


def _proof(number: str, user_pk: int) -> str:
    """What only this portal can write into the cookie."""
    return salted_hmac("people.known_browsers", f"{number}:{user_pk}", algorithm="sha256").hexdigest()
