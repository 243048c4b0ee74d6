"""Which hosts and addresses may be connected to, and which links are web addresses."""

import re
import socket
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
# Whether a connection to the host may be made at this one of its addresses.
MayConnect = Callable[[str, Address], bool]

# Characters of a link. Longer ones are not kept.
LONGEST_LINK = 2000

# Clouds answer there with the machine's own credentials. Those inside link-local networks are refused with them.
_METADATA = frozenset(
    map(ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
# "This network" (RFC 1122, section 3.2.1.3): Linux connects to itself there.
_THIS_NETWORK = ip_network("0.0.0.0/8")
# IPv6 networks whose addresses hold an IPv4 address in their last four bytes: IPv4-compatible, and NAT64.
_EMBEDDING = (ip_network("::/96"), ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
# An IPv4 address in one of the spellings that resolvers read: 169.254.169.254, 0xA9FEA9FE, 2852039166, 0251.0376.43518
_NUMBERS = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}", re.IGNORECASE | re.ASCII)
_NAME_PATTERN = re.compile(r"(?=.{1,253}\Z)[\w*-]+(?:\.[\w*-]+)*", re.IGNORECASE)


def is_refused(address: Address) -> bool:
    """Whether nothing is ever sent there: link-local, metadata, multicast, reserved and unspecified addresses."""
    address = _embedded(address)
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.version == 4 and (address.is_reserved or address in _THIS_NETWORK))
        or address in _METADATA
    )


def anywhere(host: str, address: Address) -> bool:
    """The rule for hosts that the operator names: everywhere but where nothing is ever sent."""
    return not is_refused(address)


def public_only(host: str, address: Address) -> bool:
    """The rule for hosts that others name: only addresses of the public internet."""
    address = _embedded(address)
    return address.is_global and not is_refused(address)


class HostRule:
    """Limits connections to named hosts: names, patterns such as `*.example.org`, addresses and networks.

    Without entries every host is allowed. A host whose name matches is allowed wherever it resolves to; any other one
    only at an address in one of the networks. What `is_refused` names is never allowed. Raises ValueError for a
    malformed entry.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._names: list[str] = []
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            try:
                self._networks.append(ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                if "/" in entry or _NAME_PATTERN.fullmatch(entry) is None:
                    raise ValueError(entry) from None
                self._names.append(_plain(entry))

    def allows(self, host: str, address: Address) -> bool:
        """Whether a connection to the host may be made at this address."""
        if is_refused(address):
            return False
        return self._allows_everything or self._names_host(host) or self._holds(address)

    def may_allow(self, host: str) -> bool:
        """Whether a connection to the host may be allowed, as far as can be told without resolving its name."""
        address = literal_address(host)
        if address is not None:
            return self.allows(host, address)
        # With networks, the address decides, which is known when connecting.
        return self._allows_everything or self._names_host(host) or bool(self._networks)

    def names(self, host: str, address: Address) -> bool:
        """Whether an entry names this very host, by its name or its address, and not only a network."""
        if is_refused(address):
            return False
        single = (network for network in self._networks if network.num_addresses == 1)
        return self._names_host(host) or any(_embedded(address) == network.network_address for network in single)

    @property
    def _allows_everything(self) -> bool:
        return not self._names and not self._networks

    def _names_host(self, host: str) -> bool:
        return any(fnmatchcase(_plain(host), name) for name in self._names)

    def _holds(self, address: Address) -> bool:
        address = _embedded(address)
        return any(address in network for network in self._networks if network.version == address.version)


def literal_address(host: str) -> Address | None:
    """The address that the host is a spelling of, or None for a name."""
    host = host.strip("[]")
    try:
        return ip_address(host)
    except ValueError:
        pass
    if _NUMBERS.fullmatch(host.rstrip(".")) is None:
        return None
    try:
        return IPv4Address(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None


def is_loopback_host(host: str) -> bool:
    """Whether the host is this machine's loopback by its name, without resolving it."""
    address = literal_address(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


def web_address(text: str, *, longest: int = LONGEST_LINK) -> str:
    """The text if it is a link that a page may show and others may be sent, else "".

    That is an http or https address with a host, without user name, password, blanks and control characters.
    """
    if len(text) > longest or not text.isprintable() or re.search(r"[\s\\<>\"]", text):
        return ""
    try:
        parts = urlsplit(text)
        # Raises ValueError for a port that is no number.
        is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return ""
    is_web = re.match(r"https?://", text, re.IGNORECASE) is not None
    return text if is_web and is_valid and parts.hostname and "@" not in parts.netloc else ""


def _plain(host: str) -> str:
    """A host's name as it is compared."""
    return host.rstrip(".").lower()


def _embedded(address: Address) -> Address:
    """The IPv4 address in an IPv6 one that leads to it (IPv4-mapped, 6to4, NAT64), or else the address."""
    if isinstance(address, IPv4Address):
        return address
    if inner := address.ipv4_mapped or address.sixtofour:
        return inner
    if any(address in network for network in _EMBEDDING) and int(address) > 1:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
