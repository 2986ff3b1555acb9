"""`echotune erase` as a person meets it, on the built-in database and its files."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import echotune

USER, OTHER = "listener-0003", "listener-0004"


@pytest.fixture
def folder(quick_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a person works who has set a key and nothing else."""
    monkeypatch.chdir(quick_path)
    monkeypatch.setenv("ECHOTUNE_HASH_KEY", base64.b64encode(bytes(range(32))).decode())
    return quick_path


def process(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command, own = [sys.executable, "-m", "flows.cli", *words], {"ECHOTUNE_HASH_KEY": os.environ["ECHOTUNE_HASH_KEY"]}
    return subprocess.run(
        command, env=environment | own, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_an_erased_listener_is_gone_from_the_files_and_stays_gone(folder, clean_environment, monkeypatch):
    assert process(clean_environment, "sample", "--users", "8", "--tracks", "20", "--days", "5").returncode == 0
    assert echotune("erase", USER) == (
        2,
        "",
        "error: erasing can't be undone: pass --yes where nobody can be asked\n",
    )
    with monkeypatch.context() as patch:
        patch.setenv("ECHOTUNE_HASH_KEY", "")
        status, _, err = echotune("erase", USER, "--yes")
    assert (status, "ECHOTUNE_HASH_KEY is not set" in err) == (2, True)
    erased = process(clean_environment, "erase", USER, "--yes", "--json")
    assert erased.returncode == 0, erased.stderr
    receipt = json.loads(erased.stdout)
    assert receipt["rewritten"] is True
    assert receipt["counts"]["users"] == 1
    assert receipt["counts"]["listening_history"] > 0
    assert USER not in erased.stdout

    files = [path for path in (folder / "data").rglob("*") if path.is_file()]
    assert not [path for path in files if USER.encode() in path.read_bytes()]

    (folder / "plays.csv").write_text(
        "user_id,track_id,played_at\n" + "".join(f"{u},t,2026-01-01T10:00\n" for u in (USER, OTHER))
    )
    imported = json.loads(echotune("import", "plays", "plays.csv", "--json")[1])
    assert imported[0]["reasons"] == {"of a person who was erased": 1}
    gone = "nothing is left of that id but, if it was erased, a keyed hash\n"
    assert echotune("erase", USER, "--verify")[:2] == (0, gone)
    status, out, _ = echotune("erase", OTHER, "--verify")
    assert status == 1
    assert "collection listening_history" in out
