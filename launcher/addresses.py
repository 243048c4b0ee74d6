"""Where the pages listen, and at which address a program of this host reaches them. Imports no Django."""

import ipaddress
import socket


def listening_socket(bind: str, port: int) -> socket.socket:
    """A socket that listens on this IP address. `::` takes IPv4 too. Raises OSError if the port cannot be used."""
    address = ipaddress.ip_address(bind)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    both = address.version == 6 and address.is_unspecified and socket.has_dualstack_ipv6()
    return socket.create_server((bind, port), family=family, dualstack_ipv6=both, backlog=1024)


def reachable(bind: str) -> str:
    """The address at which this host reaches a server that listens on `bind`: loopback if it listens everywhere."""
    address = ipaddress.ip_address(bind)
    if not address.is_unspecified:
        return bind
    return "127.0.0.1" if address.version == 4 else "::1"


def url(bind: str, port: int) -> str:
    """The address of the first page for a browser on this host, without the last slash."""
    host = reachable(bind)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
