"""Finding a Moodle's front page from what a person typed: any of its pages, with or without https://.

A few addresses are asked, without a token, whether Moodle's web service answers there. All that is found out about a
host that is no Moodle is told only where `may_tell` allows it: the form for an address must not show which machines and
ports exist inside.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from outbound_http import (
    ADDRESS_REFUSED,
    HOST_UNKNOWN,
    NO_ANSWER_IN_TIME,
    NO_CONNECTION_IN_TIME,
    TLS_FAILED,
    Address,
    BadCertificate,
    MayConnect,
    WireFailure,
    is_loopback_host,
    web_address,
)

from . import functions
from .connection import ANSWER_TOO_LARGE, NO_ADDRESS, NO_ANSWER, RAW, MoodleConnection, normalise_url
from .errors import MoodleError, MoodleUnreadable
from .findings import MoodleFinding
from .inspection import NO_MOODLE
from .translation import gettext_noop

log = logging.getLogger(__name__)

# Whether people may be told what is found at a host with these addresses.
MayTell = Callable[[str, Sequence[Address]], bool]

# Front pages that are asked for one address and scheme.
MOST_ROOTS = 4
# Characters of an address as people paste it: pages of Moodle may have long queries.
LONGEST_TYPED = 2000
# Where Moodle often is if it is not at the host's root.
USUAL_FOLDER = "/moodle"
# Statuses of something in front of Moodle, or of a Moodle with web services off or in trouble.
UNDECIDED = (401, 403, 408, 425, 429)

# The folders and files at the root of a Moodle. What stands before the first of them is Moodle's own folder.
_OF_MOODLE = re.compile(
    "admin|auth|availability|backup|badges|blocks|blog|cache|calendar|cohort|comment|communication|competency|completion"
    "|contentbank|course|customfield|enrol|favourites|files|filter|grade|group|h5p|index.php|iplookup|lib|local|login"
    "|media|message|mod|my|notes|payment|plagiarism|pluginfile.php|portfolio|privacy|question|rating|report"
    "|reportbuilder|repository|rss|search|tag|theme|user|webservice"
)
_SCHEME = re.compile(r"(https?)(?::/*|//)", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://|mailto:|javascript:", re.IGNORECASE)

NOT_ALLOWED = gettext_noop(
    "The portal may not connect to this host. Ask whoever runs the portal to add it to MOODLE_HOSTS. Link-local, "
    "metadata and multicast addresses are never allowed."
)
_UNKNOWN_HOST = gettext_noop(
    "There is no host named {host}. Look for a typing error; or copy the address from the browser while Moodle is open."
)
_NOTHING_LISTENS = gettext_noop(
    "Nothing answers at {host}: no connection could be made. Check the host's name and the port, that the web server "
    "runs, and that a firewall lets the portal in."
)
_TOO_SLOW = gettext_noop(
    "{host} does not answer in time. Try again; if this lasts, let Moodle's host check the web server and its firewall."
)
_ENDLESS = gettext_noop("{host} sends an answer without end, so it is no Moodle. Check the address.")
_CERTIFICATES = {
    BadCertificate.SELF_SIGNED: gettext_noop(
        "The certificate of {host} is self-signed, so nobody vouches for it. Give Moodle a certificate of a known "
        "authority; or let whoever runs the portal add the college's own authority (REQUESTS_CA_BUNDLE)."
    ),
    BadCertificate.UNKNOWN_ISSUER: gettext_noop(
        "The certificate of {host} comes from an authority that the portal does not know, or the web server leaves out "
        "the certificates in between. Install the whole chain on Moodle's web server; or let whoever runs the portal "
        "add the college's own authority (REQUESTS_CA_BUNDLE)."
    ),
    BadCertificate.EXPIRED: gettext_noop("The certificate of {host} has expired. Renew it on Moodle's web server."),
    BadCertificate.NOT_YET_VALID: gettext_noop(
        "The certificate of {host} is not valid yet. Check the clocks of the portal's and Moodle's machines."
    ),
    BadCertificate.OTHER_NAME: gettext_noop(
        "The certificate that {host} shows is for another name. Enter the name that Moodle has in the browser, or give "
        "Moodle a certificate for this one."
    ),
    BadCertificate.OTHER: gettext_noop("The certificate of {host} is not valid. Renew it on Moodle's web server."),
}
_NO_TLS = gettext_noop(
    "{host} does not speak https there. If the browser shows http://, enter the address with http://; better, give "
    "Moodle a certificate."
)
_ONLY_HTTP = gettext_noop(
    "Moodle answers there with http:// only, so the token and the learners' data could be read on the way. Give Moodle "
    "a certificate; or enter the address with http:// if that is what you want."
)
_REDIRECTS = gettext_noop(
    "{host} sends visitors on to {other}. If that is your Moodle, enter its address: {address} The portal follows no "
    "redirect to another host by itself."
)
_SOMETHING_ELSE = gettext_noop(
    "{host} answers, but no Moodle was found there. Open your Moodle in the browser and copy the address of its front "
    "page; and check that no sign-in page stands in front of it."
)
# What is told if several addresses failed in different ways, the most useful first.
_MOST_USEFUL = ("only-http", "redirect", "certificate", "undecided", "else", "endless", "tls", "slow", "closed")
# Told of every host, since neither says what is inside.
_ALWAYS_TOLD = ("refused", "unknown")


class NoMoodleFound(Exception):
    """No Moodle was found at an address; `finding` says why and what to do."""

    def __init__(self, finding: MoodleFinding) -> None:
        super().__init__(finding.check)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class FrontPage:
    """A front page that was found. `told`: people may be told what else is found out about its host."""

    url: str
    told: bool


@dataclass(frozen=True, slots=True)
class TypedAddress:
    """An address as a person typed it: the host, the schemes to ask, and the folders in which Moodle may be."""

    host: str
    netloc: str
    scheme: str
    roots: tuple[str, ...]

    @property
    def schemes(self) -> tuple[str, ...]:
        """What is asked: https first, unless http was typed for this machine or with a port."""
        if self.scheme == "https":
            return ("https",)
        if self.scheme == "http":
            local = is_loopback_host(self.host)
            return ("http",) if local else ("http", "https") if self.netloc != self.host else ("https", "http")
        return ("https", "http")

    @property
    def urls(self) -> list[str]:
        """All front pages that it may mean, the most likely first."""
        return [f"{scheme}://{self.netloc}{root}" for scheme in self.schemes for root in self.roots]


def typed_address(text: str) -> TypedAddress:
    """Read an address that a person typed. Raises ValueError, with a text for that person."""
    text = text.strip().strip("<>\"'").strip()
    if len(text) > LONGEST_TYPED:
        raise ValueError(NO_ADDRESS)
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    if not found and _OTHER_SCHEME.match(text):
        raise ValueError(gettext_noop("The address must start with https:// (or http://)."))
    rest = text[found.end() :] if found else text
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    # Also refuses credentials, blanks and what is no host.
    address = normalise_url(f"{scheme or 'https'}://{place}")
    parts = urlsplit(address)
    folders = [part for part in urlsplit(f"//{place}").path.split("/") if part]
    return TypedAddress(parts.hostname or "", parts.netloc, scheme, _roots(folders))


def _roots(folders: list[str]) -> tuple[str, ...]:
    """The folders in which Moodle may be, for a page in these folders."""
    before = next((place for place, name in enumerate(folders) if _OF_MOODLE.fullmatch(name)), None)
    # Without any, it is the address of a front page, or of a page of something else: from the longest on.
    lengths = range(len(folders), 0, -1) if before is None else [before]
    likely = [folders[:length] for length in lengths]
    paths = ["".join(f"/{name}" for name in part) for part in likely]
    paths = [*paths[: MOST_ROOTS - 1], ""]
    return tuple(dict.fromkeys([*paths, USUAL_FOLDER]))[:MOST_ROOTS]


def find_front_page(
    typed: TypedAddress, *, may_connect: MayConnect, may_tell: MayTell, timeout: float, until: float
) -> FrontPage:
    """The front page of the Moodle that was meant. Raises NoMoodleFound, and ValueError for an impossible address.

    `until`, on the monotonic clock, is the end of it all, whatever the host does; `timeout` is that of one call.
    """
    return _Finder(typed, may_connect, may_tell, timeout, until).find()


class _Finder:
    """Asks for one typed address, one call after the other."""

    def __init__(  # noqa: PLR0917 - only the function above makes one
        self, typed: TypedAddress, may_connect: MayConnect, may_tell: MayTell, timeout: float, until: float
    ) -> None:
        self._typed = typed
        self._may_connect = may_connect
        self._may_tell = may_tell
        self._timeout = timeout
        self._until = until
        self._addresses: list[Address] = []
        self._problems: dict[str, MoodleFinding] = {}

    def find(self) -> FrontPage:
        """The front page. Raises NoMoodleFound."""
        schemes = self._typed.schemes
        for number, scheme in enumerate(schemes):
            # A host that never answers by https must leave time for http.
            left = self._until - time.monotonic()
            until = time.monotonic() + left / (len(schemes) - number)
            url = self._ask_roots(scheme, until)
            if url and self._is_accepted(scheme):
                return FrontPage(url, self._told)
            if url:
                self._note("only-http", _ONLY_HTTP)
            if self._problems.keys() & set(_ALWAYS_TOLD):
                break
        raise NoMoodleFound(self._finding())

    def _is_accepted(self, scheme: str) -> bool:
        """Without encryption only on this machine, or if the person typed http://."""
        return scheme == "https" or self._typed.scheme == "http" or is_loopback_host(self._typed.host)

    def _ask_roots(self, scheme: str, until: float) -> str:
        """The first root where a Moodle answers, or ""."""
        roots = iter(self._typed.roots)
        for root in roots:
            url = f"{scheme}://{self._typed.netloc}{root}"
            error = self._ask(url, until)
            if error is None:
                self._note("else", _SOMETHING_ELSE)
            elif error.errorcode or isinstance(error, MoodleUnreadable):
                return url
            elif error.wire or error.failure in (NO_ANSWER, ANSWER_TOO_LARGE):
                # The same would come of the host's other folders.
                self._note_silence(error)
                return ""
            elif error.status in UNDECIDED or (error.status or 0) >= 500:
                # Perhaps a Moodle, but the token is not sent there before that is known.
                self._note("undecided", "{advice}", {"advice": error.advice})
            else:
                self._note_answer(url, error)
        return ""

    def _ask(self, url: str, until: float) -> MoodleError | None:
        """The error that the web service at this front page answers a call without token with; None without error."""
        client = MoodleConnection(url, "", timeout=self._timeout, may_connect=self._remembered, until=until)
        with client:
            try:
                client.call(functions.SITE_INFO, {}, RAW)
            except MoodleError as error:
                return error
        return None

    def _remembered(self, host: str, address: Address) -> bool:
        """`may_connect`, which also ends a long list of addresses that do not answer."""
        self._addresses.append(address)
        return self._may_connect(host, address) and time.monotonic() < self._until

    @property
    def _told(self) -> bool:
        return bool(self._addresses) and self._may_tell(self._typed.host, self._addresses)

    def _note_silence(self, error: MoodleError) -> None:
        """Note why there was no whole answer."""
        failure = error.wire
        if failure is None:
            self._note(*(("endless", _ENDLESS) if error.failure == ANSWER_TOO_LARGE else ("slow", _TOO_SLOW)))
        elif failure.certificate:
            self._note("certificate", _CERTIFICATES[failure.certificate])
        elif str(failure) == HOST_UNKNOWN:
            self._note("unknown", _UNKNOWN_HOST)
        elif str(failure) == ADDRESS_REFUSED and time.monotonic() < self._until:
            self._note("refused", NOT_ALLOWED)
        elif str(failure) == TLS_FAILED:
            self._note("tls", _NO_TLS)
        else:
            self._note(*(("slow", _TOO_SLOW) if _is_slow(failure) else ("closed", _NOTHING_LISTENS)))

    def _note_answer(self, url: str, error: MoodleError) -> None:
        """Note what answered that is no Moodle."""
        target = web_address(urljoin(f"{url}/", error.location)) if error.location else ""
        parts = urlsplit(target)
        asked = urlsplit(url)
        if 300 <= (error.status or 0) < 400 and target and parts[:2] != asked[:2]:
            self._note("redirect", _REDIRECTS, {"other": parts.netloc, "address": _root_of(target)})
        else:
            self._note("else", _SOMETHING_ELSE)

    def _note(self, kind: str, text: str, values: dict[str, str] | None = None) -> None:
        shown = {"host": self._typed.netloc, **(values or {})}
        self._problems.setdefault(kind, MoodleFinding("address", False, text, shown))

    def _finding(self) -> MoodleFinding:
        """The most useful of the problems, or the general one where no more may be told."""
        kind = next(kind for kind in (*_MOST_USEFUL, *_ALWAYS_TOLD) if kind in self._problems)
        if kind in ("only-http", "redirect", "undecided", "else"):
            # Else the call itself has logged why there was no answer.
            log.warning("No Moodle at %s: %s", self._typed.netloc, kind)
        if self._told or kind in _ALWAYS_TOLD:
            return self._problems[kind]
        return MoodleFinding("address", False, NO_MOODLE)


def _is_slow(failure: WireFailure) -> bool:
    return str(failure) in (NO_CONNECTION_IN_TIME, NO_ANSWER_IN_TIME)


def _root_of(url: str) -> str:
    """The likely front page of another host that was redirected to."""
    typed = typed_address(url)
    return f"{typed.scheme}://{typed.netloc}{typed.roots[0]}"
