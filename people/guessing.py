"""Guessing of passwords and codes: what is counted, and who must wait for how long.

- Failures are counted for an account *at a place*: the browser if its owner has signed in from it before, else the
  address. Others at the same address, and the owner elsewhere, are not concerned. After FREE_FAILURES the place waits a
  minute, after each further failure twice as long, at most an hour.
- Failures from all unknown browsers together are counted for the account as well: after FREE_EVERYWHERE its unknown
  browsers wait, at most a quarter of an hour at a time. Its known browsers go on.
- Wrong second factors are counted for the account alone: only who has the password can fail there.
- `settings.ACCOUNT_RATE_LIMITS` limits the failures of one address for all accounts; known browsers are exempt.

What is refused is neither hashed nor counted. A right password forgets the failures of its place, a new password and a
release by a site admin those of the account, and a day without failures all.
"""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from badging import audit
from badging.models import AuditEntry

from .known_browsers import browser_number
from .models import SignInLock

FREE_FAILURES = 5
FREE_EVERYWHERE = 50
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
LONGEST_PAUSE_EVERYWHERE = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(days=1)

# Places that are neither an address nor a browser.
EVERYWHERE = "all unknown browsers"
SECOND_FACTOR = "second factor"


@dataclass(frozen=True, slots=True)
class Account:
    """Whom somebody tries to be: a user, or a name that no user has, as a digest of it."""

    key: str
    user: User | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody tries from."""

    name: str
    known: bool = False


def account_of_user(user: User) -> Account:
    """The account of a user."""
    return Account(f"user {user.pk}", user)


def account_of_name(typed: str) -> Account:
    """The account that a typed user name or address means. Unknown names are counted as well, and never stored."""
    # Imported here: allauth's modules need the models of all apps.
    from allauth.account.internal.userkit import filter_users_by_email, get_user_by_username

    typed = typed.strip().lower()
    found = filter_users_by_email(typed, prefer_verified=True, for_login=True) if "@" in typed else []
    user = min(found, key=lambda user: int(user.pk)) if found else get_user_by_username(typed)
    if user is not None:
        return account_of_user(user)
    return Account("unknown " + salted_hmac("people.guessing", typed, algorithm="sha256").hexdigest()[:40])


def place_of(request: HttpRequest, account: Account) -> Place:
    """Where the request comes from: a known browser of the account, or the address; of IPv6 the first 64 bits."""
    if account.user and (number := browser_number(request, account.user.pk)):
        return Place(f"browser {number}", known=True)
    return Place(f"address {address_of(request)}")


def address_of(request: HttpRequest) -> str:
    """The address as the web server tells it: it believes a proxy only if TRUST_PROXY_HEADER says so."""
    text = str(request.META.get("REMOTE_ADDR") or "")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        # A proxy on a Unix socket has none.
        return "unknown"
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if address.version == 6 else text


def pause_after(failures: int, *, free: int, longest: timedelta) -> timedelta | None:
    """How long the next attempt must wait; None while failures are free."""
    if failures < free:
        return None
    doublings: int = min(failures - free, 20)
    return min(FIRST_PAUSE * (1 << doublings), longest)


def locked_until(account: Account, place: Place, now: datetime) -> datetime | None:
    """Until when this place must wait, or None."""
    place_names = [place.name] if place.known or place.name == SECOND_FACTOR else [place.name, EVERYWHERE]
    locks = SignInLock.objects.filter(account=account.key, place__in=place_names, locked_until__gt=now)
    return max((lock.locked_until for lock in locks if lock.locked_until), default=None)


@transaction.atomic
def record_failure(account: Account, place: Place, now: datetime) -> datetime | None:
    """Count one failure; returns until when the place must wait now, or None. Written to the audit for known users."""
    clear_old(now=now)
    until = _count(account, place.name, now, free=FREE_FAILURES, longest=LONGEST_PAUSE)
    if place.name != SECOND_FACTOR:
        _audit(account, AuditEntry.Action.SIGN_IN_FAILED, place)
    if until:
        _audit(account, AuditEntry.Action.SIGN_IN_LOCKED, place, until=until.isoformat(timespec="seconds"))
    if place.known or place.name == SECOND_FACTOR:
        return until
    everywhere = _count(account, EVERYWHERE, now, free=FREE_EVERYWHERE, longest=LONGEST_PAUSE_EVERYWHERE)
    if everywhere:
        _audit(
            account,
            AuditEntry.Action.SIGN_IN_LOCKED,
            Place(EVERYWHERE),
            until=everywhere.isoformat(timespec="seconds"),
        )
    return max(filter(None, (until, everywhere)), default=None)


def clear_old(*, now: datetime | None = None, **kwargs: Any) -> None:
    """Forget the failures of places that had none for a day. Receives `badging.tasks.once_a_day`."""
    SignInLock.objects.filter(failed_at__lte=(now or timezone.now()) - FORGOTTEN_AFTER).delete()


def forget_place(account: Account, place: Place) -> None:
    """Somebody has proved to be the owner there."""
    SignInLock.objects.filter(account=account.key, place=place.name).delete()


def forget_account(account: Account) -> int:
    """The account has a new password, or a site admin releases it; returns how many places were waiting or counted."""
    count, _by_model = SignInLock.objects.filter(account=account.key).delete()
    return count


def release(locks: Any, *, actor: User) -> int:
    """Release these locks, each with all others of its account; returns the number of accounts."""
    accounts = {lock.account: lock for lock in locks}
    with transaction.atomic():
        for key, lock in accounts.items():
            forget_account(Account(key))
            audit.record(AuditEntry.Action.SIGN_IN_RELEASED, lock.user or "unknown account", actor=actor)
    return len(accounts)


def _count(account: Account, place: str, now: datetime, *, free: int, longest: timedelta) -> datetime | None:
    """Add one failure to a place and lock it if they have become too many; returns until when."""
    with transaction.atomic():
        SignInLock.objects.get_or_create(
            account=account.key, place=place, defaults={"user": account.user, "failed_at": now}
        )
        lock = SignInLock.objects.select_for_update(of=("self",)).get(account=account.key, place=place)
        lock.failures += 1
        lock.failed_at = now
        pause = pause_after(lock.failures, free=free, longest=longest)
        lock.locked_until = now + pause if pause else None
        lock.save(update_fields=["failures", "failed_at", "locked_until"])
    return lock.locked_until


def _audit(account: Account, action: AuditEntry.Action, place: Place, **details: Any) -> None:
    """Write down what happened to a user; nothing about names that nobody has. The address is left out."""
    if account.user is None:
        return
    where = "known browser" if place.known else "elsewhere" if place.name.startswith("address ") else place.name
    audit.record(action, account.user, where=where, **details)


def wait_seconds(until: datetime) -> int:
    """Whole seconds until then, at least one."""
    return max(1, round((until - timezone.now()).total_seconds()))
