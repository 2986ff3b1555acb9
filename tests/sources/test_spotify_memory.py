"""A large export is imported in little memory, and a larger one would not take more."""

import json
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

ENTRIES = 180_000
PLAIN = {
    "username": "ann-on-spotify",
    "platform": "Android OS 9 API 28 (SomePhone, SP-1)",
    "conn_country": "ZZ",
    "ip_addr_decrypted": "203.0.113.7",
    "user_agent_decrypted": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 " * 4,
    "reason_start": "trackdone",
    "reason_end": "trackdone",
    "shuffle": False,
    "skipped": None,
    "offline": False,
    "offline_timestamp": 0,
    "incognito_mode": False,
}
IMPORT = """
import json, resource, sys
from datetime import UTC, datetime
from pathlib import Path
from pymongo import MongoClient
from features.sources.spotify import import_spotify

def peak_mb():
    try:  # what getrusage says begins with the peak of the process that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)

uri, name, path, home = sys.argv[1:]
peaks = []
def note(what, done, total):
    if what == "importing plays":
        peaks.append(peak_mb())
with MongoClient(uri, tz_aware=True) as client:
    totals = import_spotify(
        client[name], Path(path), "ann", home=Path(home), now=datetime.now(UTC), progress=note
    )
print(json.dumps({"read": totals.read, "imported": totals.imported, "set_aside": totals.set_aside, "peaks": peaks}))
"""


def text_of(n: int) -> str:
    """An entry as it is in a file: two plays, then three episodes, so that little time goes to the database."""
    ts = datetime(2015, 1, 1, tzinfo=UTC) + timedelta(seconds=200 * n)
    is_track = n % 5 < 2
    return json.dumps(
        PLAIN
        | {
            "ts": f"{ts:%Y-%m-%dT%H:%M:%SZ}",
            "ms_played": 1000 + n % 180_000,
            "master_metadata_track_name": f"Track {n % 9000} of very many" if is_track else None,
            "master_metadata_album_artist_name": f"Artist {n % 3000}" if is_track else None,
            "master_metadata_album_album_name": f"Album {n % 5000} (Remastered)" if is_track else None,
            "spotify_track_uri": f"spotify:track:{n % 9000:022d}" if is_track else None,
            "episode_name": None if is_track else f"Episode {n} of {'a podcast with long titles ' * 4}",
            "episode_show_name": None if is_track else f"Show {n % 50}",
            "spotify_episode_uri": None if is_track else f"spotify:episode:{n:022d}",
        }
    )


def write_export(path: Path) -> int:
    """A zip with all entries in one file; returns the bytes of that file."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("MyData/endsong_0.json", "w") as file,
    ):
        for n in range(ENTRIES):
            file.write(f"{',' if n else '['}\n{text_of(n)}".encode())
        file.write(b"]")
    with zipfile.ZipFile(path) as archive:
        return archive.infolist()[0].file_size


@pytest.mark.slow
def test_an_export_of_150_mb_takes_less_than_500_mb_and_no_more_towards_its_end(inputs, server_uri, tmp_path):
    export = tmp_path / "my_spotify_data.zip"
    assert write_export(export) > 145_000_000
    root = Path(__file__).parent.parent.parent
    words = [sys.executable, "-c", IMPORT, server_uri, inputs.name, str(export), str(tmp_path / "home")]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert (told["read"], told["imported"], told["set_aside"]) == (ENTRIES, ENTRIES * 2 // 5, ENTRIES * 3 // 5)
    peaks = told["peaks"]
    assert len(peaks) == 4
    assert peaks[-1] < 500
    assert peaks[-1] - peaks[1] < 40, peaks  # the second half, 75 MB of JSON, added next to nothing
