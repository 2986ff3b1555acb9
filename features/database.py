"""One way to the database: the URI from the settings or the built-in server, with errors a person can act on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bson.codec_options import CodecOptions
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    ConnectionFailure,
    InvalidName,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from features.errors import DatabaseError, UnreachableError
from features.settings import Settings

Document = dict[str, Any]
SELECTION_TIMEOUT_MS = 5_000
SOCKET_TIMEOUT_MS = 120_000

AUTHENTICATION_CODES = {18, 8000}
UNAUTHORIZED = 13
VALIDATION = 121
DUPLICATE_KEY = 11000
OUT_OF_DISK_SPACE = 14031
PASSING = {6, 7, 43, 89, 134, 262, 9001}
"""A server that can't reach another, and a cursor that went with a server: the driver tries some of it once, a getMore
never. A server that stops or steps down it tells as a lost connection by itself."""


@contextmanager
def open_database(settings: Settings) -> Iterator[Database[Document]]:
    """The project's database, open for the length of the block; dates come back aware, in UTC.

    With no `MONGODB_URI`, the built-in server is started or joined and left again.

    Raises:
        DatabaseError: it can't be reached, refuses the password, or the URI is not one. Never shows the URI.
    """
    if settings.uses_embedded_database:
        from features.embedded import embedded_server  # with MONGODB_URI set, none of it is needed

        with embedded_server(settings.echotune_home) as uri, _connect(uri, settings) as database:
            yield database
    else:
        assert settings.mongodb_uri is not None
        with _connect(settings.mongodb_uri.get_secret_value(), settings) as database:
            yield database


def remove_expired(database: Database[Document], settings: Settings) -> None:
    """Has the built-in server remove what has expired; one of MongoDB looks for it each minute by itself.

    Nobody writes while it looks, so hold no lease.

    Raises:
        DatabaseError: it is lost.
    """
    if settings.uses_embedded_database:
        with translated_errors():
            database.client.admin.command("secantusAdmin.pruneTtl")


@contextmanager
def _connect(uri: str, settings: Settings) -> Iterator[Database[Document]]:
    with translated_errors(), _client(uri) as client:
        client.admin.command("ping")
        yield client.get_database(
            settings.mongodb_database, codec_options=CodecOptions(document_class=dict, tz_aware=True)
        )


def _client(uri: str) -> MongoClient[Document]:
    try:
        return MongoClient(
            uri,
            appname="echotune-features",
            serverSelectionTimeoutMS=SELECTION_TIMEOUT_MS,
            socketTimeoutMS=SOCKET_TIMEOUT_MS,
            tz_aware=True,
        )
    except (ValueError, TypeError):  # such as a port beyond 65535; the message may quote the URI
        raise InvalidURI("unusable") from None
    except OSError as error:
        raise DatabaseError(
            f"a certificate file that MONGODB_URI names can't be read ({error.strerror or type(error).__name__}); "
            "correct its tlsCAFile and tlsCertificateKeyFile"
        ) from None


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turns what pymongo raises inside the block into a DatabaseError of one line, without the URI.

    Connection losses become an UnreachableError, which a flow retries.
    """
    try:
        yield
    except PyMongoError as error:
        raise (UnreachableError if _is_passing(error) else DatabaseError)(explain(error)) from error


def _is_passing(error: PyMongoError) -> bool:
    """Whether trying again later may help."""
    if isinstance(error, OperationFailure):
        return error.code in PASSING
    return isinstance(error, AutoReconnect | ConnectionFailure)


def explain(error: PyMongoError) -> str:
    """One line for a person: what is wrong and what to do. Holds no host, user or password."""
    if isinstance(error, InvalidURI | ConfigurationError):
        return _explain_address(str(error))
    if isinstance(error, InvalidName):
        return "MONGODB_DATABASE is not a name that a database can have; use letters, digits, - and _"
    if isinstance(error, ServerSelectionTimeoutError):
        return _explain_silence(str(error))
    if isinstance(error, OperationFailure) and not _is_passing(error):
        return _explain_refusal(error)
    if _is_passing(error):
        return "the connection to the database was lost; run the command again, it goes on where it stopped"
    return f"the database driver failed with {type(error).__name__}; run again with --debug to see where"


def _explain_address(message: str) -> str:
    """What is wrong with the URI, by the driver's words for it."""
    if "TLS has not been enabled" in message:
        return "MONGODB_URI has parameters for TLS but does not switch it on; add tls=true"
    if "Private key doesn't match certificate" in message:
        return "the file that tlsCertificateKeyFile of MONGODB_URI names holds no certificate with its private key"
    return "MONGODB_URI can't be read as a MongoDB address; see .env.example for the form"


def _explain_silence(message: str) -> str:
    """Why no server was found, by the driver's words for what each one answered."""
    if "CERTIFICATE_VERIFY_FAILED" in message:
        return f"the database's certificate is not accepted: {_explain_certificate(message)}"
    if "CERTIFICATE_REQUIRED" in message:
        return "the database asks for a client's certificate; set tlsCertificateKeyFile in MONGODB_URI"
    reason = re.search(r"(?<=\[)SSL[:\w ]*(?=\])", message) or re.search("SSL handshake failed", message)
    if reason:
        return (
            f"the TLS connection to the database fails ({reason[0]}); check tls, tlsCAFile and "
            "tlsCertificateKeyFile in MONGODB_URI, and that the server uses TLS"
        )
    if "connection closed" in message:
        return "the database closes the connection before a word; if it wants TLS, add tls=true to MONGODB_URI"
    return (
        f"the database can't be reached within {SELECTION_TIMEOUT_MS // 1000} s; check MONGODB_URI (host, port, and "
        "tls=true only if the server uses TLS), the network, and that the server runs"
    )


def _explain_certificate(message: str) -> str:
    if re.search("(Hostname|IP address) mismatch", message):
        return "it is made out to another name than MONGODB_URI calls the host by; use a name that it holds"
    if re.search("certificate (has expired|is not yet valid)", message):
        return "it has expired or is not valid yet; renew it, or set this machine's clock"
    return "its issuer is not known here; set tlsCAFile in MONGODB_URI to the issuer's certificate"


def _explain_refusal(error: OperationFailure) -> str:
    message = _first_line(error.details)
    if "CMD_NOT_ALLOWED" in message:  # Atlas, under the same code as a wrong password
        return "the database's host does not allow this command; do it in the host's own console"
    if error.code in AUTHENTICATION_CODES:
        return "the database refuses the user or password; correct them in MONGODB_URI"
    if error.code == UNAUTHORIZED:
        return _explain_no_right(message)
    if error.code == OUT_OF_DISK_SPACE or "WT_PANIC" in message:
        return "the database can't write, most likely because its disk is full; free some space and run again"
    if error.code == DUPLICATE_KEY:
        # the server's message shows the value, which may be an e-mail address
        index = re.search(r"index: (\S+)", message)
        where = f" by index {index[1]}" if index else ""
        return f"documents repeat a value that must be unique{where}; find them and mend or remove all but one"
    return f"the database refused an operation (code {error.code}): {message}"


def _explain_no_right(message: str) -> str:
    if "requires authentication" in message:
        return "the database wants a user and password; put them into MONGODB_URI"
    return (
        "this database account may not do that; `echotune schema roles` prints what the batch job and readers may do, "
        "the rest is for an administrator"
    )


def _first_line(details: Any) -> str:
    message = str((details or {}).get("errmsg") or "no message")
    return message.splitlines()[0][:200]


def split_documents(raw: Any) -> list[bytes]:
    """A raw batch (bytes, though pymongo types it otherwise) cut into its documents: each begins with its length."""
    documents, start = [], 0
    while start < len(raw):
        end = start + int.from_bytes(raw[start : start + 4], "little")
        documents.append(raw[start:end])
        start = end
    return documents
