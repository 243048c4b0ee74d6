"""Whether passkeys can work at the address that the portal was opened at."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from django import template
from django.http import HttpRequest
from django.urls import reverse

register = template.Library()


@register.filter
def passkeys_work(request: HttpRequest) -> bool:
    """False where the portal was opened by an IP address: a passkey belongs to a name, so browsers refuse it there."""
    return _address(request) is None


@register.filter
def named_address(request: HttpRequest) -> str:
    """The same portal by the name localhost, where it was opened by this computer's own IP address; else ""."""
    address = _address(request)
    if address is None or not address.is_loopback:
        return ""
    port = request.get_host().rpartition("]")[2].partition(":")[2]
    return f"{request.scheme}://localhost{port and f':{port}'}{reverse('home')}"


def _address(request: HttpRequest) -> IPv4Address | IPv6Address | None:
    """The IP address that stands in the address of the page; None where that is a name."""
    host = request.get_host()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return ip_address(name)
    except ValueError:
        return None
