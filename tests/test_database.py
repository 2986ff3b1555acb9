"""The way to the database, and that no error shows where it is or how to get in."""

import errno
import ipaddress
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import bson
import pytest
from bson import ObjectId
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    CursorNotFound,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from features import database
from features.database import explain, open_database, split_documents, translated_errors
from features.embedded import _find_server
from features.errors import DatabaseError, UnreachableError
from features.settings import Settings

HOST, USER, PASSWORD = "127.0.0.1", "jane-doe", "hunter2-of-the-test"
FAR, PAST = datetime(2120, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@contextmanager
def served(folder: Path, *options: object) -> Iterator[str]:
    """The built-in database's program by itself on a free port, with these options; yields host:port."""
    port = free_port()
    (folder / "secantusd.toml").touch()  # without --config it would take one of the working directory
    fixed = ["--config", folder / "secantusd.toml", "--host", HOST, "--port", port, "--storage-path", folder / "db"]
    command = [_find_server(), *fixed, "--cache-size", "256M", "--log-file-max", "128MB", *options]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not is_open(port):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
        yield f"{HOST}:{port}"
    finally:
        process.terminate()
        process.wait(20)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@dataclass(frozen=True)
class Certificate:
    """A server's certificate with its key, and the authority that signed it, as files."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def options(self) -> tuple[object, ...]:
        return ("--tls-cert-file", self.certificate, "--tls-key-file", self.key)


def make_certificate(folder: Path, host: str = "localhost", ends: datetime = FAR) -> Certificate:
    """A certificate for a host (and, for localhost, for its address) by an authority of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    address = [x509.IPAddress(ipaddress.ip_address(HOST))] if host == "localhost" else []
    names = x509.SubjectAlternativeName([x509.DNSName(host), *address])
    issuer = _unsigned("Authority of the test", authority_key, ends)
    authority = issuer.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    server = _unsigned(host, server_key, ends).add_extension(names, critical=False)
    files = Certificate(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    for file, builder in ((files.authority, authority), (files.certificate, server)):
        file.write_bytes(builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files.key.write_bytes(server_key.private_bytes(*private))
    return files


def _unsigned(name: str, key: ec.EllipticCurvePrivateKey, ends: datetime) -> x509.CertificateBuilder:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    begin = x509.CertificateBuilder().serial_number(x509.random_serial_number()).public_key(key.public_key())
    dated = begin.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(ends)
    return dated.subject_name(named(name)).issuer_name(named("Authority of the test"))


@dataclass(frozen=True)
class Secured:
    """A server that asks for a password and speaks nothing but TLS."""

    address: str
    authority: Path

    def uri(self, user: str, password: str = PASSWORD) -> str:
        return f"mongodb://{user}:{password}@{self.address}/?directConnection=true&tls=true&tlsCAFile={self.authority}"


@contextmanager
def secured(folder: Path) -> Iterator[Secured]:
    """Such a server, with one account of its administrator: USER with PASSWORD."""
    certificate = make_certificate(folder)
    with served(folder) as address, MongoClient(f"mongodb://{address}/?directConnection=true") as client:
        client.admin.command("createUser", USER, pwd=PASSWORD, roles=["root"])
    with served(folder, "--auth", *certificate.options) as address:
        yield Secured(address, certificate.authority)


def refusal_of(uri: str, name: str = "test") -> DatabaseError:
    """What opening says; one line, and nothing in it of where and how."""
    with (
        pytest.raises(DatabaseError) as error,
        open_database(Settings(mongodb_uri=SecretStr(uri), mongodb_database=name)) as opened,
    ):
        opened.things.find_one()
    for text in (str(error.value), repr(error.value)):
        assert "\n" not in text
        for secret in (HOST, USER, PASSWORD, "hunter2", uri):
            assert secret not in text
    return error.value


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(database, "SELECTION_TIMEOUT_MS", 300)


def test_an_open_database_is_the_one_of_the_settings_with_aware_dates(settings, db):
    stored = bson.datetime_ms.DatetimeMS(0)
    db.things.insert_one({"at": stored})
    with open_database(settings) as opened:
        assert opened.name == db.name
        at = opened.things.find_one()["at"]
    assert at.utcoffset().total_seconds() == 0


@pytest.mark.usefixtures("impatient")
def test_a_port_where_nothing_listens_is_unreachable():
    error = refusal_of(f"mongodb://{USER}:{PASSWORD}@{HOST}:{free_port()}/")
    assert isinstance(error, UnreachableError)
    assert "can't be reached" in str(error)
    assert "MONGODB_URI" in str(error)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_no_mongodb_is_unreachable():
    with socket.create_server((HOST, 0)) as listener:  # accepts and says nothing
        error = refusal_of(f"mongodb://{HOST}:{listener.getsockname()[1]}/?connectTimeoutMS=200")
    assert isinstance(error, UnreachableError)


@pytest.mark.parametrize(
    "uri",
    [
        f"http://{USER}:{PASSWORD}@{HOST}/",
        "mongodb://",
        f"mongodb://{USER}:{PASSWORD}@{HOST}:port/",
        f"mongodb://{USER}:{PASSWORD}@{HOST}:99999/",
        f"mongodb://{USER}:{PASSWORD}@{HOST}:-1/",
        f"mongodb://{USER}:{PASSWORD}/slash@{HOST}/",
        f"mongodb://{USER}:{PASSWORD}@extra@{HOST}/",
        f"mongodb://{USER}:{PASSWORD}@[::1/",
        f"mongodb+srv://{USER}:{PASSWORD}@{HOST}:27017/",
        f"mongodb+srv://{USER}:{PASSWORD}@localhost/",
    ],
)
def test_a_uri_that_is_none_is_told_as_that(uri):
    error = refusal_of(uri)
    assert str(error) == "MONGODB_URI can't be read as a MongoDB address; see .env.example for the form"
    assert not isinstance(error, UnreachableError)  # trying again would not help


@pytest.mark.parametrize("name", ["tlsCAFile", "tlsCertificateKeyFile"])
def test_a_certificate_file_that_is_not_there_is_told_as_that(tmp_path, name):
    error = refusal_of(f"mongodb://{USER}:{PASSWORD}@{HOST}/?tls=true&{name}={tmp_path}/none.pem")
    assert "certificate file that MONGODB_URI names can't be read (No such file or directory)" in str(error)


@pytest.mark.parametrize("name", ["a.b", "a b", "a/b", "$a", 'a"b'])
def test_a_name_that_no_database_can_have_is_told_as_that(server_uri, name):
    with (
        pytest.raises(DatabaseError, match=r"^MONGODB_DATABASE is not a name"),
        open_database(Settings(mongodb_uri=SecretStr(server_uri), mongodb_database=name)),
    ):
        pass


def test_without_a_uri_the_built_in_server_is_used_and_left(quick_path):
    settings = Settings(mongodb_uri=None, echotune_home=quick_path)
    with open_database(settings) as opened:
        opened.things.insert_one({"_id": 1})
    with open_database(settings) as opened:
        assert opened.things.count_documents({}) == 1


@pytest.fixture(scope="module")
def locked_server(quick_folder):
    """A server that asks for a password: the user is made while it does not yet."""
    folder = quick_folder / "locked"
    folder.mkdir()
    with served(folder) as address, MongoClient(f"mongodb://{address}/?directConnection=true") as client:
        client.admin.command("createUser", USER, pwd=PASSWORD, roles=[{"role": "root", "db": "admin"}])
        client.admin.command("createUser", "reader", pwd=PASSWORD, roles=[{"role": "read", "db": "test"}])
    with served(folder, "--auth") as address:
        yield address


def test_the_right_password_opens(locked_server):
    uri = f"mongodb://{USER}:{PASSWORD}@{locked_server}/?directConnection=true"
    with open_database(Settings(mongodb_uri=SecretStr(uri), mongodb_database="test")) as opened:
        opened.things.insert_one({"_id": 1})


@pytest.mark.parametrize("who", [f"{USER}:not-{PASSWORD}", f"{USER}-x:{PASSWORD}"])
def test_a_wrong_password_and_an_unknown_user_are_told_alike(locked_server, who):
    error = refusal_of(f"mongodb://{who}@{locked_server}/?directConnection=true")
    assert str(error) == "the database refuses the user or password; correct them in MONGODB_URI"
    assert not isinstance(error, UnreachableError)


def test_no_password_at_all_is_told_as_that(locked_server):
    error = refusal_of(f"mongodb://{locked_server}/?directConnection=true")
    assert str(error) == "the database wants a user and password; put them into MONGODB_URI"


@pytest.fixture(scope="module")
def tls_server(quick_folder):
    with secured(quick_folder / "tls") as server:
        yield server


@pytest.fixture
def patient_enough(monkeypatch):
    """Time for a TLS handshake on a busy machine, and no more: what refuses is asked again until the time is up."""
    monkeypatch.setattr(database, "SELECTION_TIMEOUT_MS", 1_500)


def test_the_right_password_opens_over_tls(tls_server):
    with open_database(Settings(mongodb_uri=SecretStr(tls_server.uri(USER)), mongodb_database="test")) as opened:
        opened.things.insert_one({"_id": 1})


def test_a_wrong_password_over_tls_shows_before_anything_is_asked(tls_server):
    settings = Settings(mongodb_uri=SecretStr(tls_server.uri(USER, f"not-{PASSWORD}")), mongodb_database="test")
    with pytest.raises(DatabaseError) as error, open_database(settings):
        raise AssertionError("it opened")
    assert str(error.value) == "the database refuses the user or password; correct them in MONGODB_URI"


@pytest.mark.usefixtures("patient_enough")
def test_an_issuer_that_is_not_known_is_told_with_the_parameter_that_names_it(tls_server):
    uri = tls_server.uri(USER).partition("&tlsCAFile=")[0]
    assert "tls=true" in uri
    assert str(refusal_of(uri)) == (
        "the database's certificate is not accepted: its issuer is not known here; "
        "set tlsCAFile in MONGODB_URI to the issuer's certificate"
    )


@pytest.mark.usefixtures("patient_enough")
@pytest.mark.parametrize(
    ("host", "ends", "told"),
    [
        ("other.example", FAR, "made out to another name than MONGODB_URI calls the host by"),
        ("localhost", PAST, "it has expired or is not valid yet"),
    ],
)
def test_a_certificate_for_another_host_or_another_time_is_told_as_that(quick_path, host, ends, told):
    certificate = make_certificate(quick_path, host, ends)
    with served(quick_path, *certificate.options) as address:
        error = refusal_of(Secured(address, certificate.authority).uri(USER))
    assert str(error).startswith("the database's certificate is not accepted: ")
    assert told in str(error)
    assert host not in str(error)


@pytest.mark.usefixtures("patient_enough")
def test_a_plain_connection_to_a_server_that_wants_tls_is_told_as_that(tls_server):
    error = refusal_of(f"mongodb://{USER}:{PASSWORD}@{tls_server.address}/?directConnection=true")
    assert "if it wants TLS, add tls=true to MONGODB_URI" in str(error)


@pytest.mark.usefixtures("patient_enough")
def test_tls_to_a_server_without_is_among_what_to_check(tls_server, locked_server):
    error = refusal_of(Secured(locked_server, tls_server.authority).uri(USER))
    assert "tls=true only if the server uses TLS" in str(error)


@pytest.mark.usefixtures("patient_enough")
def test_a_server_that_asks_for_a_client_certificate_is_told_as_that(quick_path):
    certificate = make_certificate(quick_path)
    asking = (*certificate.options, "--tls-ca-file", certificate.authority, "--tls-require-client-cert")
    with served(quick_path, *asking) as address:
        error = refusal_of(Secured(address, certificate.authority).uri(USER))
    assert str(error) == "the database asks for a client's certificate; set tlsCertificateKeyFile in MONGODB_URI"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("tls=false&tlsCAFile={authority}", "add tls=true"),
        ("tls=true&tlsCertificateKeyFile={authority}", "holds no certificate with its private key"),
    ],
)
def test_tls_parameters_that_do_not_fit_are_told_as_that(tls_server, options, told):
    uri = f"mongodb://{USER}:{PASSWORD}@{tls_server.address}/?{options.format(authority=tls_server.authority)}"
    assert told in str(refusal_of(uri))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (f"SSL handshake failed: {HOST}:27017: [SSL: WRONG_VERSION_NUMBER] wrong version number", "WRONG_VERSION_N"),
        (f"SSL handshake failed: {HOST}:27017: [Errno 104] Connection reset by peer", "SSL handshake failed"),
        (f"{HOST}:27017: [SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca", "TLSV1_ALERT_UNKNOWN_CA"),
        (f"{HOST}:27017: [SSL] unknown error", "SSL"),
    ],
)
def test_any_other_failure_of_tls_is_told_with_its_name(message, told):
    line = explain(ServerSelectionTimeoutError(message))
    assert line.startswith("the TLS connection to the database fails (")
    assert told in line
    assert HOST not in line


def test_a_command_that_a_host_does_not_allow_is_not_taken_for_a_wrong_password():
    error = OperationFailure("no", 8000, {"errmsg": "CMD_NOT_ALLOWED: createRole"})
    assert "does not allow this command" in explain(error)


@pytest.mark.parametrize(
    ("raised", "passing"),
    [
        (ServerSelectionTimeoutError(f"{HOST}:27017: connection refused"), True),
        (AutoReconnect(f"{HOST}:27017: reset"), True),
        (NetworkTimeout(f"{HOST}:27017: timed out"), True),
        (NotPrimaryError(f"{HOST} is a secondary"), True),
        (OperationFailure("no", 50, {"errmsg": "operation exceeded time limit", "code": 50}), False),
        (CursorNotFound("cursor 7 not found", 43, {"errmsg": "cursor 7 not found", "code": 43}), True),
        (OperationFailure("no", 89, {"errmsg": f"no answer from {HOST}", "code": 89}), True),
        (OperationFailure("auth", 18, {"errmsg": f"failed for {USER}"}), False),
        (OperationFailure("auth", 8000, {"errmsg": f"failed for {USER}"}), False),
        (OperationFailure("no", 13, {"errmsg": f"{USER} may not"}), False),
        (BulkWriteError({"writeErrors": []}), False),
        (PyMongoError(f"{HOST} said something"), False),
    ],
)
def test_only_a_lost_connection_is_worth_trying_again(raised, passing):
    with pytest.raises(DatabaseError) as error, translated_errors():
        raise raised
    assert isinstance(error.value, UnreachableError) == passing
    for secret in (HOST, USER, PASSWORD):
        assert secret not in str(error.value)
    assert error.value.__cause__ is raised  # --debug still shows where


def test_a_server_that_is_cut_off_while_it_is_read_is_worth_trying_again(db):
    db["plays"].insert_many([{} for _ in range(9)])
    stops = {"errorCode": 89, "failCommands": ["getMore"]}
    try:
        db.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=stops)
    except OperationFailure:
        pytest.skip("this server has no fail points")
    try:
        with pytest.raises(UnreachableError, match="the connection to the database was lost"), translated_errors():
            list(db["plays"].find(batch_size=4))
    finally:
        db.client.admin.command("configureFailPoint", "failCommand", mode="off")


def test_a_refusal_is_told_with_its_code_in_one_short_line():
    error = OperationFailure("full", 121, {"errmsg": "Document failed validation\nwith details " + "x" * 500})
    assert explain(error) == "the database refused an operation (code 121): Document failed validation"
    assert len(explain(OperationFailure("x", 1, {"errmsg": "y" * 5000}))) < 300
    assert explain(OperationFailure("x", 1, {"errmsg": ""})).endswith("(code 1): no message")


def test_an_error_that_is_not_the_databases_passes_unchanged():
    failure = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left") as error, translated_errors():
        raise failure
    assert error.value is failure


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(-9, 9) | st.text(max_size=5))))
def test_a_batch_is_cut_into_the_documents_it_was_made_of(documents):
    encoded = [bson.encode({"_id": ObjectId(), **document}) for document in documents]
    assert split_documents(b"".join(encoded)) == encoded


def test_a_repeated_value_is_told_without_the_value(db):
    db["users"].insert_many([{"email": "ann@example.org"}, {"email": "ann@example.org"}])
    with pytest.raises(DatabaseError, match="must be unique by index email_1") as error, translated_errors():
        db["users"].create_index("email", unique=True)
    assert "ann" not in str(error.value)
