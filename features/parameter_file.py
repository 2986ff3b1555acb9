"""The parameter file: what a search found for the models, versioned, under `$ECHOTUNE_HOME`."""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from features.errors import InputError
from features.model_parameters import model_value
from features.parameters import NightlyParameters
from features.storage import whole_file, write_json

FORMAT = 1
NAME = "parameters.json"


@dataclass(frozen=True)
class ParameterFile:
    """What a search found, and from what.

    Attributes:
        version: counts up in one data folder.
        made_at: aware.
        snapshot: digest of the inputs.
        as_of: aware; the moment they were looked at from.
        search: what the search was told and how it went: its budget, seed, held-out days.
        validation: by model, what it was worth before and after.
        models: parameters by model, those that are not as by default.
    """

    version: int
    made_at: datetime
    snapshot: str
    as_of: datetime
    search: Mapping[str, Any]
    validation: Mapping[str, Any]
    models: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """With dates as ISO text; parameters as `NightlyParameters` has them."""
        values = asdict(self)
        models = values.pop("models")
        dates = {name: getattr(self, name).isoformat() for name in ("made_at", "as_of")}
        return {"format": FORMAT} | values | dates | {"parameters": {"models": models}}


def parameter_path(home: Path) -> Path:
    """Where the file of a data folder is."""
    return home / NAME


def kept_path(home: Path, file: ParameterFile) -> Path:
    """Where a file stays when another takes its place."""
    return home / f"{Path(NAME).stem}.{file.version}.json"


def words_of(file: ParameterFile) -> str:
    """One line for a person or a log."""
    models = ", ".join(file.models) or "no model"
    return f"parameter file version {file.version}, made {file.made_at:%Y-%m-%d %H:%M} UTC, is used: {models}"


def read_parameter_file(path: Path) -> ParameterFile:
    """A parameter file.

    Raises:
        InputError: it is not there, can't be read, is none, or holds a parameter that no model has or may have.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return _from_json(value)
    except FileNotFoundError:
        raise InputError(f"{path} is not there; make one with `echotune evaluate --tune`") from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{path} is no parameter file ({what}); remove it or put an earlier version in its place "
            f"({path.stem}.N.json); --no-parameter-file goes without"
        ) from None


def find_parameter_file(home: Path, given: Path | None = None) -> ParameterFile | None:
    """The file that was given, else that of the data folder; None where there is none.

    Raises:
        InputError: the given one is not there, or it is broken.
    """
    if given is not None:
        return read_parameter_file(given)
    path = parameter_path(home)
    return read_parameter_file(path) if path.exists() else None


def write_parameter_file(home: Path, file: ParameterFile, former: ParameterFile | None) -> Path:
    """Writes the file of a data folder, whole or not at all; the former one stays beside it as `parameters.N.json`.

    Args:
        home: `$ECHOTUNE_HOME`.
        file: the new one.
        former: what is there now.

    Raises:
        StorageError: the folder can't be written.
    """
    path = parameter_path(home)
    if former is not None:
        with whole_file(kept_path(home, former)) as scratch:
            shutil.copyfile(path, scratch)
    write_json(path, _defined(file.to_json()))
    return path


def next_version(home: Path, former: ParameterFile | None) -> int:
    """One more than any version that was ever kept in a data folder."""
    kept = (path.suffixes[-2][1:] for path in home.glob(f"{Path(NAME).stem}.*.json"))
    return 1 + max([0 if former is None else former.version, *(int(text) for text in kept if text.isdecimal())])


def laid_under(parameters: NightlyParameters, file: ParameterFile | None) -> NightlyParameters:
    """Parameters with those of a file wherever they say nothing themselves."""
    if file is None:
        return parameters
    models = {
        name: {**file.models.get(name, {}), **parameters.models.get(name, {})}
        for name in sorted({*file.models, *parameters.models})
    }
    return parameters.model_copy(update={"models": models})


def _defined(value: Any) -> Any:
    """With null for what is not defined: NaN is no JSON."""
    if isinstance(value, Mapping):
        return {name: _defined(content) for name, content in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _from_json(value: Mapping[str, Any]) -> ParameterFile:
    if value["format"] != FORMAT:
        raise ValueError(f"format {value['format']}, not {FORMAT}")
    given = value["parameters"]
    if set(given) != {"models"}:
        raise ValueError(f"its parameters are {', '.join(sorted(given)) or 'none'}, not models")
    models = {
        str(model): {str(name): model_value(f"{model}.{name}", own) for name, own in setting.items()}
        for model, setting in given["models"].items()
    }
    dates = {name: datetime.fromisoformat(value[name]) for name in ("made_at", "as_of")}
    return ParameterFile(
        int(value["version"]),
        dates["made_at"],
        value["snapshot"],
        dates["as_of"],
        value["search"],
        value["validation"],
        models,
    )
