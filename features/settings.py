"""Settings from the environment and `.env`; passwords never leave their SecretStr but to open a connection."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from features.errors import InputError
from features.memory_limit import resolve_memory_limit


class Settings(BaseSettings):
    """What the environment says. Names are the variables' own, in lower case."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    mongodb_uri: SecretStr | None = None
    """Where the database is; unset means the built-in one under `echotune_home`."""
    mongodb_database: str = Field(default="echotune_ai", min_length=1, max_length=63)
    echotune_home: Path = Path("data")
    """Snapshots, releases and the built-in database live here."""
    echotune_vectors: Literal["double", "float32"] = "double"
    """How `features.vector` is stored: an array of doubles, or BSON Binary float32 (subtype 9)."""
    echotune_memory_limit: str = "8GB"
    """What a night may hold in memory: sizes of blocks follow from it, and nothing else."""
    echotune_keep_releases: int = Field(default=3, ge=2)
    """Releases that stay in the database and on disk, the live one and the one before it among them."""

    echotune_hash_key: SecretStr | None = None
    """For hashes of client addresses and of erased users' ids; 32 bytes in base64."""
    echotune_token_key: SecretStr | None = None
    """For the encryption of Spotify tokens, shared with the app; 32 bytes in base64."""

    @field_validator("echotune_memory_limit")
    @classmethod
    def _is_a_size(cls, given: str) -> str:
        try:
            resolve_memory_limit(given, "")
        except InputError as error:
            raise ValueError(str(error).strip()) from None
        return given

    @property
    def memory_limit(self) -> int:
        """Bytes."""
        return resolve_memory_limit(self.echotune_memory_limit)

    @property
    def uses_embedded_database(self) -> bool:
        """True when no `MONGODB_URI` is set."""
        return self.mongodb_uri is None or not self.mongodb_uri.get_secret_value().strip()


@cache
def get_settings() -> Settings:
    """The process's settings, read once.

    Raises:
        InputError: a variable has a value that can't be used; names the variable, not its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise InputError(
            f"environment variable {name}: {first['msg']}; correct it in the environment or in .env"
        ) from None
