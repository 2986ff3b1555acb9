"""Client addresses: every form that a proxy or framework writes is seen, and one address has one form."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.keys import keyed_hash
from features.schema.addresses import client_address, looks_like_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1\t", "192.0.2.1"),
        ("192.0.2.1:5123", "192.0.2.1"),
        ("[192.0.2.1]:80", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::1", "::1"),
        ("192.0.2.1, 198.51.100.7", "192.0.2.1"),
        ("unknown, 198.51.100.7 ,192.0.2.1", "198.51.100.7"),
        ("2001:db8::1,192.0.2.1:80", "2001:db8::1"),
    ],
)
def test_an_address_is_found_in_each_form(text, address):
    assert client_address(text) == address
    assert looks_like_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        "unknown",
        "localhost",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.01",
        "192.0.2.0/24",
        "192.0.2.1:port",
        "192.0.2.1:123456",
        "[192.0.2.1",
        "[]:80",
        "2001:db8::1::2",
        "3221225985",
        "example.com:80",
        "8c6976e5b5410415bde908bd4dee15df",
        keyed_hash(bytes(32), "ip", "192.0.2.1"),
        "٣.٣.٣.٣",
    ],
)
def test_other_texts_are_no_addresses(text):
    assert client_address(text) is None
    assert not looks_like_address(text)


PADDING = st.text(" \t", max_size=3)
PORT = st.integers(0, 65_535)


@given(st.ip_addresses(v=4), PADDING, PORT)
def test_an_ipv4_address_has_one_form_however_it_is_written(address: IPv4Address, padding, port):
    mapped = IPv6Address(b"\x00" * 10 + b"\xff\xff" + address.packed)
    for text in (f"{address}", f"{address}:{port}", f"{mapped}", f"[{mapped.exploded}]:{port}", f"x, {address}, y"):
        assert client_address(padding + text + padding) == str(address)


@given(st.ip_addresses(v=6).filter(lambda address: not address.ipv4_mapped), PADDING, PORT)
def test_an_ipv6_address_has_one_form_however_it_is_written(address: IPv6Address, padding, port):
    for text in (f"{address}", address.exploded, address.exploded.upper(), f"[{address}]", f"[{address}]:{port}"):
        assert client_address(padding + text + padding) == str(address)


@given(st.text(max_size=40))
def test_no_text_is_too_odd(text):
    found = client_address(text)
    assert found is None or client_address(found) == found
