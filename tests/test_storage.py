"""Files whole or not there, also when the disk is full, read-only or no folder at all."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import StorageError
from features.storage import REMEDIES, translated_storage_errors, whole_file, whole_folder, write_json, write_parquet

NOISE = pa.table({"noise": pa.array([os.urandom(64) for _ in range(10_000)])})  # does not compress


def everything_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def write_half(path: Path, failure: type[BaseException]) -> None:
    path.write_text("half")
    raise failure


def assert_one_line_naming(error: StorageError, path: Path, remedy: str) -> None:
    message = str(error)
    assert message.startswith(f"can't write {path}")
    assert remedy in message
    assert "\n" not in message


def test_a_file_appears_when_the_block_ends(tmp_path):
    with whole_file(tmp_path / "deep" / "a.txt") as scratch:
        scratch.write_text("whole")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert everything_under(tmp_path) == ["deep", "deep/a.txt"]
    assert (tmp_path / "deep" / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_leaves_no_file(tmp_path, failure):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(failure), whole_file(tmp_path / "a.txt") as scratch:
        write_half(scratch, failure)
    assert everything_under(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_the_former_folder(tmp_path, failure):
    with whole_folder(tmp_path / "r") as scratch:
        (scratch / "a").write_text("old")
    with pytest.raises(failure), whole_folder(tmp_path / "r") as scratch:
        write_half(scratch / "a", failure)
    assert everything_under(tmp_path) == ["r", "r/a"]
    assert (tmp_path / "r" / "a").read_text() == "old"


def test_a_folder_appears_whole_and_replaces_the_former_one(tmp_path):
    for names in (["a", "b"], ["c"]):
        with whole_folder(tmp_path / "deep" / "r") as scratch:
            (scratch / "inner").mkdir()
            for name in names:
                (scratch / "inner" / name).write_text(name)
    assert everything_under(tmp_path) == ["deep", "deep/r", "deep/r/inner", "deep/r/inner/c"]


def test_json_keeps_its_order_and_its_letters(tmp_path):
    write_json(tmp_path / "m.json", {"z": 1, "a": "Bjørk"})
    assert list(json.loads((tmp_path / "m.json").read_text(encoding="utf-8")).items()) == [("z", 1), ("a", "Bjørk")]
    assert "Bjørk" in (tmp_path / "m.json").read_text(encoding="utf-8")


def test_a_value_that_json_cannot_hold_leaves_the_former_file(tmp_path):
    write_json(tmp_path / "m.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "m.json", {"a": object()})
    assert everything_under(tmp_path) == ["m.json"]
    assert json.loads((tmp_path / "m.json").read_text()) == {"a": 1}


@pytest.mark.parametrize("number", REMEDIES)
def test_every_known_fault_of_a_disk_has_its_remedy(tmp_path, number):
    with pytest.raises(StorageError) as error, translated_storage_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert_one_line_naming(error.value, tmp_path, REMEDIES[number])


def test_an_unknown_fault_of_a_disk_is_told_as_the_system_tells_it(tmp_path):
    with pytest.raises(StorageError) as error, translated_storage_errors(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert_one_line_naming(error.value, tmp_path, "Input/output error; check the disk")


def test_a_home_that_is_a_file_is_told_so(tmp_path):
    (tmp_path / "home").write_text("a file")
    path = tmp_path / "home" / "x" / "a.parquet"
    with pytest.raises(StorageError) as error:
        write_parquet(path, NOISE)
    assert_one_line_naming(error.value, path, "set ECHOTUNE_HOME to a folder")
    with pytest.raises(StorageError) as error, whole_folder(path):
        pass
    assert_one_line_naming(error.value, path, "set ECHOTUNE_HOME to a folder")
    assert (tmp_path / "home").read_text() == "a file"


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 KB; its options can be changed by mounting it again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_clear_error_and_nothing_half_written_stays(tiny_disk):
    write_json(tiny_disk / "kept.json", {"a": 1})
    with pytest.raises(StorageError) as error:
        write_parquet(tiny_disk / "t.parquet", NOISE)
    assert_one_line_naming(error.value, tiny_disk / "t.parquet", "the disk is full; free some space")
    with pytest.raises(StorageError) as error:
        write_json(tiny_disk / "t.json", {"a": "x" * 500_000})
    assert_one_line_naming(error.value, tiny_disk / "t.json", "the disk is full")
    with pytest.raises(StorageError) as error, whole_folder(tiny_disk / "r") as scratch:
        pq.write_table(NOISE, scratch / "t.parquet")
    assert_one_line_naming(error.value, tiny_disk / "r", "the disk is full")
    assert everything_under(tiny_disk) == ["kept.json"]


def test_a_read_only_disk_is_one_clear_error(tiny_disk):
    write_json(tiny_disk / "kept.json", {"a": 1})
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    for path in (tiny_disk / "kept.json", tiny_disk / "deep" / "new.json"):
        with pytest.raises(StorageError) as error:
            write_json(path, {"a": 2})
        assert_one_line_naming(error.value, path, "the file system is read-only; set ECHOTUNE_HOME")
    with pytest.raises(StorageError) as error, whole_folder(tiny_disk / "r"):
        pass
    assert_one_line_naming(error.value, tiny_disk / "r", "the file system is read-only")
    assert json.loads((tiny_disk / "kept.json").read_text()) == {"a": 1}


def test_a_file_that_may_not_grow_is_an_error_for_those_who_cannot_mount_too(tmp_path):
    script = f"""
import resource, signal, sys
from pathlib import Path
import pyarrow as pa
from features.errors import StorageError
from features.storage import write_parquet
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_parquet(Path({str(tmp_path)!r}) / "t.parquet", pa.table({{"a": [bytes([n % 251]) * n for n in range(2000)]}}))
except StorageError as error:
    sys.exit(str(error))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (
        run.stderr.splitlines()[-1]
        == f"can't write {tmp_path}/t.parquet: File too large; check the disk and the folder"
    )
    assert everything_under(tmp_path) == []
