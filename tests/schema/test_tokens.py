"""Encrypted tokens: read back by their owner with the key, by nobody else; written the same each time; read by Node."""

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from bson import ObjectId
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.schema.tokens import OURS, TOKEN_FIELDS, decrypt_token, encrypt_token, looks_encrypted

DOCS = Path(__file__).parents[2] / "docs"
KEY = bytes(range(32))
OTHER_KEY = bytes(32)
OWNER = ObjectId("64b000000000000000000001")
TOKEN = "BQDc-example_token"
USER_IDS = st.one_of(
    st.text(st.characters(exclude_characters="\x00", codec="utf-8"), min_size=1, max_size=60),
    st.binary(min_size=12, max_size=12).map(ObjectId),
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=300)


@given(st.binary(min_size=32, max_size=32), USER_IDS, st.sampled_from(TOKEN_FIELDS), TEXTS)
def test_what_was_encrypted_is_read_again(key, user_id, field, plain):
    token = encrypt_token(key, user_id, field, plain)
    assert decrypt_token(key, user_id, field, token) == plain
    assert looks_encrypted(token)
    assert OURS.fullmatch(token)


def test_the_form_is_the_one_that_the_documentation_shows():
    """The app is written by others: a change here is a new version, not an edit of this line."""
    token = encrypt_token(bytes(32), "ann", "accessToken", "BQDexample")
    assert token == "v1.aes256gcm.WFsOJRT1i04bswcb.sU90W_-kFDNt_C68B_kDBPglqReZB9jf0vk"
    assert token in (DOCS / "tokens.md").read_text()


def test_the_form_is_what_the_documentation_says_in_words():
    _, cipher, nonce, data = encrypt_token(KEY, OWNER, "refreshToken", TOKEN).split(".")
    assert (cipher, len(nonce)) == ("aes256gcm", 16)
    raw_nonce, raw = (base64.urlsafe_b64decode(part + "==") for part in (nonce, data))
    assert (len(raw_nonce), len(raw)) == (12, len(TOKEN) + 16)
    additional = b"64b000000000000000000001\x00refreshToken"
    assert AESGCM(KEY).decrypt(raw_nonce, raw, additional) == TOKEN.encode()


def test_the_same_token_is_written_the_same_each_time_and_nothing_else_shares_its_nonce():
    once = encrypt_token(KEY, "ann", "accessToken", TOKEN)
    assert encrypt_token(KEY, "ann", "accessToken", TOKEN) == once
    others = [
        encrypt_token(KEY, "ann", "refreshToken", TOKEN),
        encrypt_token(KEY, "bob", "accessToken", TOKEN),
        encrypt_token(KEY, "ann", "accessToken", TOKEN + "x"),
        encrypt_token(OTHER_KEY, "ann", "accessToken", TOKEN),
    ]
    assert len({token.split(".")[2] for token in [once, *others]}) == 5


def test_a_token_with_a_drawn_nonce_is_read_too():
    nonce = os.urandom(12)
    data = AESGCM(KEY).encrypt(nonce, b"from the app", b"ann\x00accessToken")
    parts = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (nonce, data)]
    assert decrypt_token(KEY, "ann", "accessToken", f"v1.aes256gcm.{parts[0]}.{parts[1]}") == "from the app"


@pytest.mark.parametrize(
    ("key", "user_id", "field"),
    [(OTHER_KEY, OWNER, "accessToken"), (KEY, "ann", "accessToken"), (KEY, OWNER, "refreshToken")],
)
def test_nobody_else_reads_it(key, user_id, field):
    token = encrypt_token(KEY, OWNER, "accessToken", TOKEN)
    with pytest.raises(InputError, match=r"can't be decrypted: .*; check ECHOTUNE_TOKEN_KEY") as caught:
        decrypt_token(key, user_id, field, token)
    assert TOKEN not in str(caught.value)
    assert token not in str(caught.value)


def test_a_change_of_any_character_is_found_out():
    token = encrypt_token(KEY, "ann", "accessToken", TOKEN)
    for place in range(len("v1.aes256gcm."), len(token) - 1):  # the last one has bits that stand for nothing
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(InputError):
            decrypt_token(KEY, "ann", "accessToken", changed)


@pytest.mark.parametrize("token", ["", TOKEN, "v1.aes256gcm.", "v1.aes256gcm.AAAA.BBBB", "v2.aes256gcm.x.y"])
def test_what_is_not_in_our_form_is_told_so(token):
    with pytest.raises(InputError, match="accessToken is not a token in the form"):
        decrypt_token(KEY, "ann", "accessToken", token)


def test_a_length_that_base64_never_has_is_told_as_damage():
    with pytest.raises(InputError, match="can't be decrypted"):
        decrypt_token(KEY, "ann", "accessToken", f"v1.aes256gcm.{'A' * 16}.{'B' * 25}")


@pytest.mark.parametrize("user_id", ["", "a\x00accessToken", None, 7])
def test_a_user_id_that_is_none_binds_nothing(user_id):
    with pytest.raises(InputError, match="userId"):
        encrypt_token(KEY, user_id, "accessToken", TOKEN)


@pytest.mark.parametrize(
    "text",
    [
        encrypt_token(KEY, "ann", "accessToken", "x"),
        "v1.aes256gcm.damaged",
        base64.b64encode(b"Salted__" + bytes(24)).decode(),
        Fernet(base64.urlsafe_b64encode(bytes(32))).encrypt_at_time(b"x", 0).decode(),
        "00112233445566778899aabb:00112233445566778899AABBCCDDEEFF:a1b2c3",
        "00112233445566778899aabbccddeeff:a1",
    ],
    ids=["ours", "damaged", "openssl", "fernet", "three groups", "two groups"],
)
def test_ciphertext_is_told_from_plain_tokens(text):
    assert looks_encrypted(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "BQDc7cWnUG8qYtTb1zSLDhWq3rjN4a",
        "AQAnother-refresh_token",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
        "gAAAAshort",
        "U2FsdGVkX1",
        "0011:2233",
        "00112233445566778899aabbccddeeff",
        "00112233445566778899aabbccddeefg:a1b2",
        "001:122334455667788990011223344556677",
        "v1.aes",
    ],
)
def test_everything_else_is_taken_for_plain(text):
    assert not looks_encrypted(text)


node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def read_with_node(*words: str, key: bytes | str | None = KEY) -> tuple[int, str, str]:
    environment = {name: value for name, value in os.environ.items() if name != "ECHOTUNE_TOKEN_KEY"}
    if key is not None:
        environment["ECHOTUNE_TOKEN_KEY"] = key if isinstance(key, str) else base64.b64encode(key).decode()
    done = subprocess.run(
        ["node", str(DOCS / "examples" / "read-token.mjs"), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@node
@pytest.mark.parametrize("user_id", ["ann", "Zoë ♫", OWNER], ids=repr)
def test_node_reads_what_was_encrypted(user_id):
    for field in TOKEN_FIELDS:
        token = encrypt_token(KEY, user_id, field, "BQ ünï-token")
        assert read_with_node(str(user_id), field, token) == (0, "BQ ünï-token\n", "")


@node
@pytest.mark.parametrize(
    ("words", "key", "message"),
    [
        (("bob", "accessToken", "TOKEN"), KEY, "can't be decrypted"),
        (("ann", "refreshToken", "TOKEN"), KEY, "can't be decrypted"),
        (("ann", "accessToken", "TOKEN"), OTHER_KEY, "can't be decrypted"),
        (("ann", "accessToken", "TOKEN"), None, "ECHOTUNE_TOKEN_KEY is not 32 bytes"),
        (("ann", "accessToken", "TOKEN"), "AAAA", "ECHOTUNE_TOKEN_KEY is not 32 bytes"),
        (("ann", "accessToken", "BQplain"), KEY, "not a token in the form"),
        (("ann", "accessToken"), KEY, "usage:"),
    ],
)
def test_node_says_in_one_line_why_it_can_not(words, key, message):
    token = encrypt_token(KEY, "ann", "accessToken", TOKEN)
    status, out, err = read_with_node(*(token if word == "TOKEN" else word for word in words), key=key)
    assert (status, out) == (1, "")
    assert re.fullmatch(f"error: [^\n]*{message}[^\n]*\n", err)
