"""What the portal believes of a request: forwarding headers of trusted proxies only, and one way to write a path."""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse

FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
FORWARDED_PROTO = "HTTP_X_FORWARDED_PROTO"
# Other headers of this kind have no meaning to Django, or only with settings that the portal does not have. They are
# removed, so that no library believes them.
FORWARDING = re.compile(r"HTTP_(X_FORWARDED_\w+|FORWARDED|X_REAL_IP|X_(ORIGINAL|REWRITE)_URL|(X_)?SCRIPT_NAME)")
# An address with a port: 192.0.2.1:1234 or [2001:db8::1]:1234; also [2001:db8::1] alone.
WITH_PORT = re.compile(r"(?:\[([^\]]+)\]|([\d.]+))(?::\d+)?")
# The paths of all pages and files consist of these characters.
PLAIN_PATH = re.compile(r"/(?:[\w.~@+=:,-]+/)*[\w.~@+=:,-]*", re.ASCII)

Address = IPv4Address | IPv6Address


class ForwardingMiddleware:
    """Makes REMOTE_ADDR and the scheme those of the browser, and removes what anybody could have claimed.

    X-Forwarded-For and X-Forwarded-Proto count if the request comes from one of `settings.TRUSTED_PROXIES`.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Tidy the request and pass it on."""
        meta = request.META
        claimed = {name: meta.pop(name) for name in list(meta) if FORWARDING.fullmatch(name)}
        peer = _address(meta.get("REMOTE_ADDR", ""))
        if peer is not None and _is_trusted(peer):
            meta["REMOTE_ADDR"] = meta["REMOTE_HOST"] = str(_client(peer, claimed.get(FORWARDED_FOR, "")))
            # Exact, because two values mean that a proxy has added its own to that of the browser.
            if claimed.get(FORWARDED_PROTO) in ("http", "https"):
                meta[FORWARDED_PROTO] = claimed[FORWARDED_PROTO]
        return self._get_response(request)


class PlainPathMiddleware:
    """Lets a page be reached by its own address only, so that a proxy's rules for paths hold.

    Raises Http404 for other ways to write an address, such as `//admin/`, `/%61dmin/` and `http://host/admin/`.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on if its path is plain."""
        # What the web server received, before it was decoded. Django's own servers do not tell.
        target = request.META.get("REQUEST_URI")
        if target is not None and not PLAIN_PATH.fullmatch(target.partition("?")[0]):
            raise Http404
        return self._get_response(request)


def _address(text: str) -> Address | None:
    """The IP address in the text, without a port; None if there is none."""
    text = text.strip().strip('"')
    if match := WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # How a socket for both versions of IP names a client with IPv4.
    return (address.version == 6 and address.ipv4_mapped) or address


def _is_trusted(address: Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)


def _client(peer: Address, forwarded_for: str) -> Address:
    """The address before the first trusted proxy: proxies add the address of their client at the end of the header."""
    client = peer
    for hop in reversed(forwarded_for.split(",")):
        address = _address(hop)
        if address is None:
            break
        client = address
        if not _is_trusted(address):
            break
    return client
