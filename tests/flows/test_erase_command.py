"""`echotune erase` as a person meets it, on the built-in database and its files."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

USER, OTHER = "listener-0003", "listener-0004"


@pytest.fixture
def run(clean_environment, tmp_path):
    """Runs the command in a process and folder of its own; returns what it did."""
    environment = clean_environment | {"ECHOTUNE_HASH_KEY": base64.b64encode(bytes(range(32))).decode()}

    def runner(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.cli", *words]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return runner


@pytest.mark.slow
def test_an_erased_listener_is_gone_from_the_files_and_stays_gone(run, tmp_path: Path):
    assert run("sample", "--users", "8", "--tracks", "20", "--days", "5").returncode == 0
    refused = run("erase", USER)
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: erasing can't be undone: pass --yes where nobody can be asked\n",
    )
    unset = run("erase", USER, "--yes", ECHOTUNE_HASH_KEY="")
    assert (unset.returncode, "ECHOTUNE_HASH_KEY is not set" in unset.stderr) == (2, True)
    erased = run("erase", USER, "--yes", "--json")
    assert erased.returncode == 0, erased.stderr
    receipt = json.loads(erased.stdout)
    assert receipt["rewritten"] is True
    assert receipt["counts"]["users"] == 1
    assert receipt["counts"]["listening_history"] > 0
    assert USER not in erased.stdout

    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not [path for path in files if USER.encode() in path.read_bytes()]

    (tmp_path / "plays.csv").write_text(
        "user_id,track_id,played_at\n" + "".join(f"{u},t,2026-01-01T10:00\n" for u in (USER, OTHER))
    )
    imported = run("import", "plays", "plays.csv", "--json")
    assert json.loads(imported.stdout)[0]["reasons"] == {"of a person who was erased": 1}
    after = run("erase", USER, "--verify")
    assert (after.returncode, after.stdout) == (0, "nothing is left of that id but, if it was erased, a keyed hash\n")
    other = run("erase", OTHER, "--verify")
    assert other.returncode == 1
    assert "collection listening_history" in other.stdout
