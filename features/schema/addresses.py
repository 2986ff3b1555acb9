"""Client addresses in texts: which of them it is, in the one form in which an address is hashed."""

import re
from ipaddress import IPv6Address, ip_address

WITH_PORT = re.compile(r"\[(?P<bracketed>[^\]]+)\](?::[0-9]{1,5})?|(?P<dotted>[0-9.]+):[0-9]{1,5}")


def client_address(text: str) -> str | None:
    """The first address in a text, normalised, so that one address has one form; None where there is none.

    Ports, brackets, zones and surrounding spaces go. In a list, as `X-Forwarded-For` has it, the first address is the
    client's and the others are proxies on the way; entries that are none, such as `unknown`, are passed over. An IPv4
    address in IPv6 clothes is that IPv4 address. Numbers with leading zeros are none: nobody knows whether they are
    octal.

    >>> client_address(" 192.0.2.1:5123"), client_address("::ffff:192.0.2.1, 198.51.100.7")
    ('192.0.2.1', '192.0.2.1')
    >>> client_address("[2001:0DB8:0:0::1]:443"), client_address("somewhere")
    ('2001:db8::1', None)
    """
    return next((address for part in text.split(",") if (address := _address(part.strip()))), None)


def looks_like_address(text: str) -> bool:
    """Whether a text shows an IP address to whoever reads it, in any form that `client_address` knows.

    >>> looks_like_address("unknown, [2001:db8::1]"), looks_like_address("8c6976e5b5410415bde908bd4dee15df")
    (True, False)
    """
    return client_address(text) is not None


def _address(text: str) -> str | None:
    found = WITH_PORT.fullmatch(text)
    try:
        address = ip_address((found["bracketed"] or found["dotted"]) if found else text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address).partition("%")[0]
