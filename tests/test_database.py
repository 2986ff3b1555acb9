"""The way to the database, and that no error shows where it is or how to get in."""

import errno
import os
import socket
import subprocess
import sysconfig
import time
from pathlib import Path

import bson
import pytest
from bson import ObjectId
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
from features.errors import DatabaseError, UnreachableError
from features.settings import Settings

HOST, USER, PASSWORD = "127.0.0.1", "jane-doe", "hunter2-of-the-test"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


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


def test_without_a_uri_the_built_in_server_is_used_and_left(tmp_path):
    settings = Settings(mongodb_uri=None, echotune_home=tmp_path)
    with open_database(settings) as opened:
        opened.things.insert_one({"_id": 1})
    with open_database(settings) as opened:
        assert opened.things.count_documents({}) == 1


@pytest.fixture(scope="module")
def locked_server(tmp_path_factory):
    """A server that asks for a password: the user is made while it does not yet."""
    folder = tmp_path_factory.mktemp("locked")

    def serve(*more: str) -> tuple[subprocess.Popen, str]:
        port = free_port()
        program = Path(sysconfig.get_path("scripts")) / "secantusd-rs"
        command = [
            program,
            "--host",
            HOST,
            "--port",
            str(port),
            "--storage-path",
            folder,
            "--cache-size",
            "256M",
            "--log-file-max",
            "128MB",
            *more,
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    return process, f"{HOST}:{port}"
            time.sleep(0.05)
        process.kill()
        process.wait()
        raise AssertionError("the server did not start")

    process, address = serve()
    with MongoClient(f"mongodb://{address}/?directConnection=true") as client:
        client.admin.command("createUser", USER, pwd=PASSWORD, roles=[{"role": "root", "db": "admin"}])
        client.admin.command("createUser", "reader", pwd=PASSWORD, roles=[{"role": "read", "db": "test"}])
    process.terminate()
    process.wait(20)
    process, address = serve("--auth")
    yield address
    process.terminate()
    process.wait(20)


def test_the_right_password_opens(locked_server):
    uri = f"mongodb://{USER}:{PASSWORD}@{locked_server}/?directConnection=true"
    with open_database(Settings(mongodb_uri=SecretStr(uri), mongodb_database="test")) as opened:
        opened.things.insert_one({"_id": 1})


@pytest.mark.parametrize("who", [f"{USER}:not-{PASSWORD}", f"{USER}-x:{PASSWORD}"])
def test_a_wrong_password_and_an_unknown_user_are_told_alike(locked_server, who):
    error = refusal_of(f"mongodb://{who}@{locked_server}/?directConnection=true")
    assert str(error) == "the database refuses the user or password; correct them in MONGODB_URI"
    assert not isinstance(error, UnreachableError)


def test_no_password_at_all_is_told_as_not_allowed(locked_server):
    error = refusal_of(f"mongodb://{locked_server}/?directConnection=true")
    assert str(error) == "the database user may not do this; give it read and write access to the database"


@pytest.mark.parametrize(
    ("raised", "passing"),
    [
        (ServerSelectionTimeoutError(f"{HOST}:27017: connection refused"), True),
        (AutoReconnect(f"{HOST}:27017: reset"), True),
        (NetworkTimeout(f"{HOST}:27017: timed out"), True),
        (NotPrimaryError(f"{HOST} is a secondary"), True),
        (OperationFailure("no", 50, {"errmsg": "operation exceeded time limit", "code": 50}), False),
        (CursorNotFound("cursor 7 not found", 43, {"errmsg": "cursor 7 not found", "code": 43}), False),
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
