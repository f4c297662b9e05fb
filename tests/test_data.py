"""Tests of course_utils.data on made-up files and a local server. No network is needed.

Tests at the end that take the fixture ``ratings`` use the real data.
"""

import datetime
import errno
import hashlib
import http.server
import io
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

from course_utils import data, fetch, made, tables
from course_utils.metrics import baseline_scores

import filelock
import pandas as pd
import pytest
import requests
import trustme

# --- Made-up data ---------------------------------------------------------------------------------

RATINGS = b"1\t267\t3\t881250949\n2\t1\t5\t891717742\n2\t543\t1\t878887116\n"


def _flags(*genres: str) -> str:
    return "|".join("1" if name in genres else "0" for name in data.GENRES)


U_ITEM = "".join(
    f"{start}|{_flags(*genres)}\n"
    for start, genres in [
        ("1|Toy Story (1995)|01-Jan-1995||http://x", ["Animation", "Children's", "Comedy"]),
        ("12|Usual Suspects, The (1995)|14-Aug-1995||http://x", ["Crime", "Thriller"]),
        ("267|unknown|||", ["unknown"]),
        ("543|Misérables, Les (1995)|01-Jan-1995||http://x", ["Drama", "Musical"]),
        ("1201|Marlene Dietrich: Shadow and Light (1996) |02-Apr-1996||http://x", ["Documentary"]),
        (
            "1412|Land Before Time III: The Time of the Great Giving (1995) (V)|01-Jan-1995||http://x",
            ["Animation", "Children's"],
        ),
        ("1633|Á köldum klaka (Cold Fever) (1994)|08-Mar-1996||http://x", ["Comedy", "Drama"]),
    ]
).encode("latin-1")
WHEEL_ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Story\t1995\tAnimation Children's Comedy\n"
    "12\tUsual Suspects, The\t1995\tCrime Thriller\n"
    "267\tunkonwn\tunkonwn\tunknown\n"
    "543\tMisérables, Les\t1995\tDrama Musical\n"
    "1201\tMarlene Dietrich: Shadow and Light\t1996\tDocumentary\n"
    "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's\n"
    "1633\tÁ köldum klaka (Cold Fever)\t1994\tComedy Drama\n"
).encode()
U_USER = b"1|24|M|technician|05711\n2|53|F|other|T8H1N\n"
FILES = {
    "u.data": RATINGS,
    "u.item": U_ITEM,
    "u.user": U_USER,
    "ml-100k.inter": tables.INTER_HEADER.encode() + b"\n" + RATINGS,
    "ml-100k.item": WHEEL_ITEM,
    "ml-100k.user": b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    + U_USER.replace(b"|", b"\t"),
}
CHECKSUMS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


def make_zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


GOOD_ZIP = make_zip({f"ml-100k/{name}": FILES[name] for name in fetch.OFFICIAL})


def put(folder: Path, names=fetch.OFFICIAL) -> Path:
    """Put made-up tables into a data folder, as a user would by hand."""
    (folder / "ml-100k").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "ml-100k" / name).write_bytes(FILES[name])
    return folder / "ml-100k"


def contents(folder: Path) -> set[str]:
    """All that is below a data folder, except for the lock file."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return found - {".fetch.lock"}


COMPLETE = {"ml-100k", *(f"ml-100k/{name}" for name in fetch.OFFICIAL)}


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Replace the registry by the checksums of the made-up files; return an empty data folder."""
    monkeypatch.setattr(fetch, "SHA256", CHECKSUMS)
    folder = tmp_path / "data"
    monkeypatch.setenv("COURSE_DATA_DIR", str(folder))
    return folder


# --- A local server that stands in for the mirrors ------------------------------------------------


def send(body: bytes, status: int = 200, kind: str = "application/zip"):
    """Return a reply that sends ``body``."""

    def reply(handler):
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def send_half(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(GOOD_ZIP)))
    handler.end_headers()
    handler.wfile.write(GOOD_ZIP[: len(GOOD_ZIP) // 2])


class Mirrors:
    """A server with one reply per path; it remembers the paths that were asked for."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.replies = {}
        self.asked = []
        self.stop_stalling = threading.Event()
        mirrors = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mirrors.asked.append(self.path)
                mirrors.replies.get(self.path, send(b"", status=404))(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *args: None  # a client that hangs up is no news
        scheme = "http"
        if certificate:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def source(self, name: str, reply) -> fetch.Source:
        self.replies[f"/{name}"] = reply
        return fetch.Source(name, f"{self.url}/{name}")

    def stall(self, handler):
        """Send the first half, then nothing, as long as the test runs."""
        send_half(handler)
        handler.wfile.flush()
        self.stop_stalling.wait(30)

    def stall_at_once(self, handler):
        self.stop_stalling.wait(30)

    def close(self) -> None:
        self.stop_stalling.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mirrors(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Mirrors()
    yield server
    server.close()


def fetch_error(folder: Path, *sources: fetch.Source) -> str:
    """Fetch, which must fail and leave nothing behind; return the message."""
    before = contents(folder) if folder.exists() else set()
    with pytest.raises(data.DataError) as caught:
        fetch.fetch_movielens(folder, sources)
    assert contents(folder) - before <= {"ml-100k"}  # at most the empty folder
    return str(caught.value)


# --- The registry and the folder ------------------------------------------------------------------


def test_the_sources_are_tried_in_the_documented_order():
    assert [source.address for source in fetch.SOURCES] == [
        "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        "https://huggingface.co/datasets/Recommenders/MovieLens/resolve/main/ml-100k.zip",
        "recbole==1.2.1",
    ]
    assert sorted(fetch.SHA256) == sorted(fetch.OFFICIAL + fetch.WHEEL)
    assert (fetch.CONNECT_SECONDS, fetch.READ_SECONDS) == (10, 60)


def test_data_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "mine"))
    assert fetch.data_dir() == tmp_path / "mine"
    monkeypatch.setenv("COURSE_DATA_DIR", "~/movies")
    assert fetch.data_dir() == Path.home() / "movies"
    # Without the variable: the package may lie in a repository or be installed without one.
    package = tmp_path / "repo" / "course_utils"
    package.mkdir(parents=True)
    monkeypatch.setattr(fetch, "__file__", str(package / "data.py"))
    monkeypatch.setenv("COURSE_DATA_DIR", "")
    assert fetch.data_dir().name == "neural-recommenders-course"
    (tmp_path / "repo" / "pyproject.toml").touch()
    assert fetch.data_dir() == tmp_path / "repo" / "data"
    monkeypatch.delenv("COURSE_DATA_DIR")
    assert fetch.data_dir() == tmp_path / "repo" / "data"


def test_importing_the_module_does_not_import_tensorflow():
    code = "import sys, course_utils.data; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


# --- Already there --------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [fetch.OFFICIAL, fetch.WHEEL])
def test_data_that_are_there_need_no_request_no_lock_and_no_write(made_up, mirrors, monkeypatch, capfd, names):
    put(made_up, names)
    before = contents(made_up)
    source = mirrors.source("a", send(GOOD_ZIP))
    monkeypatch.setattr(fetch, "SOURCES", (source,))

    def forbidden(*args, **kwargs):
        raise AssertionError("the fast path must not do this")

    monkeypatch.setattr(fetch.filelock, "FileLock", forbidden)
    monkeypatch.setattr(Path, "mkdir", forbidden)
    assert fetch.fetch_movielens() == made_up / "ml-100k"
    assert len(data.load_ratings()) == 3
    assert mirrors.asked == []
    assert contents(made_up) == before and not (made_up / ".fetch.lock").exists()
    assert capfd.readouterr() == ("", "")


def test_data_in_a_read_only_folder_can_be_read(made_up):
    target = put(made_up)
    for path in (target, made_up):
        path.chmod(0o555)
    try:
        assert len(data.load_users()) == 2
    finally:
        for path in (made_up, target):
            path.chmod(0o755)


def test_a_zip_put_by_hand_comes_before_the_sources_and_stays(made_up, mirrors):
    made_up.mkdir()
    (made_up / "ml-100k.zip").write_bytes(GOOD_ZIP)
    fetch.fetch_movielens(made_up, [mirrors.source("a", send(GOOD_ZIP))])
    assert mirrors.asked == []
    assert contents(made_up) == COMPLETE | {"ml-100k.zip"}
    assert (made_up / "ml-100k.zip").read_bytes() == GOOD_ZIP


def test_a_damaged_zip_put_by_hand_is_reported_and_stays(made_up, mirrors, capsys):
    made_up.mkdir()
    (made_up / "ml-100k.zip").write_bytes(b"half a file")
    message = fetch_error(made_up)
    assert "ml-100k.zip: this is not a zip file" in message
    fetch.fetch_movielens(made_up, [mirrors.source("a", send(GOOD_ZIP))])
    assert (made_up / "ml-100k.zip").read_bytes() == b"half a file"
    assert "MovieLens 100K from ml-100k.zip: this is not a zip file" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["u.data", "u.user", "ml-100k.item"])
def test_a_damaged_file_is_named_and_left_alone(made_up, mirrors, name):
    target = put(made_up, fetch.OFFICIAL if name in fetch.OFFICIAL else fetch.WHEEL)
    (target / name).write_bytes(b"my own notes")
    message = fetch_error(made_up, mirrors.source("a", send(GOOD_ZIP)))
    assert str(target / name) in message and "Move it away" in message
    assert CHECKSUMS[name] in message
    assert hashlib.sha256(b"my own notes").hexdigest() in message
    assert (target / name).read_bytes() == b"my own notes"
    assert mirrors.asked == []
    with pytest.raises(data.DataError, match="Not the original file"):
        data.load_ratings()  # checked on every load


def test_one_complete_form_is_enough_when_the_other_is_damaged(made_up):
    target = put(made_up, fetch.WHEEL)
    (target / "u.data").write_bytes(b"damaged")
    assert len(data.load_ratings()) == 3


def test_missing_files_are_added_to_those_that_are_there(made_up, mirrors):
    target = put(made_up, ["u.data"])
    before = (target / "u.data").stat().st_mtime_ns
    fetch.fetch_movielens(made_up, [mirrors.source("a", send(GOOD_ZIP))])
    assert contents(made_up) == COMPLETE
    assert (target / "u.data").stat().st_mtime_ns == before


# --- Downloads that work --------------------------------------------------------------------------


def test_download(made_up, mirrors, capfd):
    target = fetch.fetch_movielens(made_up, [mirrors.source("first", send(GOOD_ZIP))])
    assert target == made_up / "ml-100k"
    assert contents(made_up) == COMPLETE
    assert all((target / name).read_bytes() == FILES[name] for name in fetch.OFFICIAL)
    out, err = capfd.readouterr()
    assert out == ""  # nothing to report
    assert "first" in err and "100%" in err  # the progress bar


def test_the_next_source_is_tried_and_each_failure_is_one_line(made_up, mirrors, capsys):
    fetch.fetch_movielens(
        made_up,
        [
            mirrors.source("first", send(b"", status=404)),
            mirrors.source("second", send(b"", status=503)),
            mirrors.source("third", send(GOOD_ZIP)),
            mirrors.source("fourth", send(GOOD_ZIP)),
        ],
    )
    assert mirrors.asked == ["/first", "/second", "/third"]
    assert contents(made_up) == COMPLETE
    assert capsys.readouterr().out.splitlines() == [
        "MovieLens 100K from first: the server answered with HTTP status 404",
        "MovieLens 100K from second: the server answered with HTTP status 503",
    ]


def test_without_arguments_the_folder_and_the_sources_are_the_modules(made_up, mirrors, monkeypatch):
    monkeypatch.setattr(fetch, "SOURCES", (mirrors.source("a", send(GOOD_ZIP)),))
    assert len(data.load_ratings()) == 3
    assert contents(made_up) == COMPLETE


def test_when_all_sources_fail_the_message_lists_them_and_says_what_to_do(made_up, mirrors):
    message = fetch_error(
        made_up,
        mirrors.source("first", send(b"", status=404)),
        mirrors.source("second", send(b"<!DOCTYPE html><html>Please log in</html>")),
    )
    assert "  - first: the server answered with HTTP status 404\n" in message
    assert "  - second: an HTML page came instead of the zip" in message
    assert f"put it unopened at {made_up / 'ml-100k.zip'} and run this again" in message


# --- Downloads that fail --------------------------------------------------------------------------


def test_wrong_checksum(made_up, mirrors):
    bad = make_zip({**{f"ml-100k/{n}": FILES[n] for n in fetch.OFFICIAL}, "ml-100k/u.user": b"x"})
    message = fetch_error(made_up, mirrors.source("a", send(bad)))
    got = hashlib.sha256(b"x").hexdigest()
    assert f"wrong SHA-256 of u.user: expected {CHECKSUMS['u.user']}, got {got}" in message


@pytest.mark.parametrize("body", [b"<html>x</html>", b"\n<!doctype HTML>\n<p>Sign in"])
def test_html_page_instead_of_the_zip(made_up, mirrors, body):
    message = fetch_error(made_up, mirrors.source("a", send(body, kind="text/html")))
    assert "an HTML page came instead of the zip" in message


@pytest.mark.parametrize("body", [b"", GOOD_ZIP[:-30], GOOD_ZIP[: len(GOOD_ZIP) // 2]])
def test_truncated_zip(made_up, mirrors, body):
    message = fetch_error(made_up, mirrors.source("a", send(body)))
    assert "not a zip file, or only a part of one" in message


def test_zip_damaged_in_the_middle(made_up, mirrors):
    place = GOOD_ZIP.index(b"ml-100k/u.item") + 60
    damaged = GOOD_ZIP[:place] + bytes(20) + GOOD_ZIP[place + 20 :]
    message = fetch_error(made_up, mirrors.source("a", send(damaged)))
    assert "the zip is damaged at ml-100k/u.item" in message


def test_zip_with_a_wrong_crc(made_up, mirrors):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("ml-100k/u.data", RATINGS)
    damaged = buffer.getvalue().replace(b"881250949", b"881250948")
    message = fetch_error(made_up, mirrors.source("a", send(damaged)))
    assert "the zip is damaged at ml-100k/u.data" in message and "CRC" in message


def test_encrypted_zip(made_up, mirrors):
    locked = bytearray(GOOD_ZIP)
    locked[GOOD_ZIP.index(b"PK\x01\x02") + 8] |= 1  # the flag for an encrypted file
    locked[6] |= 1
    message = fetch_error(made_up, mirrors.source("a", send(bytes(locked))))
    assert "the zip is damaged at ml-100k/u.data" in message and "encrypted" in message


def test_zip_without_the_files(made_up, mirrors):
    message = fetch_error(made_up, mirrors.source("a", send(make_zip({"u.data": RATINGS}))))
    assert "the zip has no file ml-100k/u.data" in message


def test_zip_members_are_never_extracted_by_their_own_path(made_up, mirrors, tmp_path):
    evil = {"../evil": b"x", "../../evil": b"x", str(tmp_path / "evil"): b"x", "ml-100k/evil": b"x"}
    good = {f"ml-100k/{name}": FILES[name] for name in fetch.OFFICIAL}
    fetch.fetch_movielens(made_up, [mirrors.source("a", send(make_zip({**evil, **good})))])
    assert contents(made_up) == COMPLETE
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_only_traversal_names_in_the_zip(made_up, mirrors, tmp_path):
    evil = make_zip({f"../ml-100k/{name}": FILES[name] for name in fetch.OFFICIAL})
    assert "the zip has no file" in fetch_error(made_up, mirrors.source("a", send(evil)))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_connection_that_breaks_off(made_up, mirrors):
    message = fetch_error(made_up, mirrors.source("a", send_half))
    assert "a: the connection broke off before the whole file had arrived" in message


def test_connection_refused(made_up, mirrors):
    mirrors.close()
    message = fetch_error(made_up, fetch.Source("a", f"{mirrors.url}/a"))
    assert "a: no connection to the server. Is the network on?" in message


def test_unknown_host(made_up, monkeypatch):
    # Names under .invalid never exist. With a proxy, the proxy would answer instead.
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    message = fetch_error(made_up, fetch.Source("a", "http://mirror.invalid/a"))
    assert "a: no connection to the server. Is the network on?" in message


@pytest.mark.parametrize("how", ["stall", "stall_at_once"])
def test_stalled_server(made_up, mirrors, monkeypatch, how):
    monkeypatch.setattr(fetch, "READ_SECONDS", 0.3)
    start = time.monotonic()
    message = fetch_error(made_up, mirrors.source("a", getattr(mirrors, how)))
    assert "a: timeout" in message and "0.3 s of silence" in message
    assert time.monotonic() - start < 10


def test_connect_timeout(made_up, monkeypatch):
    def never_connects(url, timeout, **kwargs):
        assert timeout == (10, 60)
        raise requests.ConnectTimeout("slow")

    monkeypatch.setattr(requests, "get", never_connects)
    assert "a: timeout (limits: 10 s" in fetch_error(made_up, fetch.Source("a", "https://x/a"))


@pytest.mark.parametrize(("trusted", "reason"), [(True, "has lapsed"), (False, "could not be verified")])
def test_bad_tls_certificate_is_refused(made_up, monkeypatch, tmp_path, trusted, reason):
    authority = trustme.CA()
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate = tmp_path / "lapsed.pem"
    authority.issue_cert("127.0.0.1", not_after=yesterday).private_key_and_cert_chain_pem.write_to_path(
        certificate
    )
    known = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(known)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(known))
    mirrors = Mirrors(certificate)
    try:
        message = fetch_error(made_up, mirrors.source("a", send(GOOD_ZIP)))
    finally:
        mirrors.close()
    assert f"a: the server's TLS certificate {reason}" in message
    assert mirrors.asked == []


def test_other_failures_of_requests(made_up):
    message = fetch_error(made_up, fetch.Source("a", "http://"))
    assert "a: the download failed (InvalidURL)" in message


# --- The disk -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_read_only_folder(made_up, mirrors, monkeypatch, code):
    def refuse(self, *args, **kwargs):
        raise OSError(code, os.strerror(code), str(self))

    made_up.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        message = fetch_error(made_up, mirrors.source("a", send(GOOD_ZIP)))
    assert "read-only" in message and str(made_up) in message and "COURSE_DATA_DIR" in message
    assert mirrors.asked == []


def test_really_read_only_folder(made_up, mirrors):
    for folder in (made_up, made_up / "ml-100k"):
        folder.mkdir()
    made_up.chmod(0o555)
    try:
        source = mirrors.source("a", send(GOOD_ZIP))
        if os.access(made_up, os.W_OK):  # root, and everyone on Windows, may write all the same
            fetch.fetch_movielens(made_up, [source])
            assert contents(made_up) == COMPLETE
        else:
            assert "read-only" in fetch_error(made_up, source)
    finally:
        made_up.chmod(0o755)


def _no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("when", ["write", "fsync", "download"])
def test_full_disk(made_up, mirrors, monkeypatch, when):
    class FullDisk(io.BytesIO):
        """A file that takes a few bytes and then no more."""

        write = _no_space

    def open_on_full_disk(path, mode="r", **kwargs):
        if Path(path).name != "u.item.part":
            return open(path, mode, **kwargs)
        Path(path).write_bytes(b"the first bytes")
        return FullDisk()

    if when == "write":
        monkeypatch.setattr(data, "open", open_on_full_disk, raising=False)
    elif when == "fsync":
        monkeypatch.setattr(os, "fsync", _no_space)
    else:
        monkeypatch.setattr(fetch.pooch.HTTPDownloader, "__call__", _no_space)
    with pytest.raises(data.DataError) as caught:
        fetch.fetch_movielens(made_up, [mirrors.source("a", send(GOOD_ZIP))])
    assert "disk is full" in str(caught.value) and "about 3 MB" in str(caught.value)
    assert str(made_up) in str(caught.value)
    # No .part and no temporary folder is left; a file that was finished before is whole.
    left = contents(made_up) - {"ml-100k"}
    assert left == ({"ml-100k/u.data"} if when == "write" else set())
    monkeypatch.undo()
    monkeypatch.setattr(fetch, "SHA256", CHECKSUMS)
    fetch.fetch_movielens(made_up, [mirrors.source("a", send(GOOD_ZIP))])
    assert contents(made_up) == COMPLETE


def test_files_are_synced_before_they_get_their_name(made_up, mirrors, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda part, path: (steps.append(Path(path).name), replace(part, path)))
    fetch.fetch_movielens(made_up, [mirrors.source("a", send(GOOD_ZIP))])
    assert steps == ["fsync", "u.data", "fsync", "u.item", "fsync", "u.user"]


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(data.DataError, match="COURSE_DATA_DIR"):
        fetch.fetch_movielens(tmp_path / "data", [])


# --- Several processes ----------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from course_utils import data, fetch
fetch.SHA256 = dict(line.split("=") for line in sys.argv[3].split(","))
print("ready", flush=True)
sys.stdin.readline()
fetch.fetch_movielens(Path(sys.argv[1]), [fetch.Source("mirror", sys.argv[2])])
print(len(list(Path(sys.argv[1], "ml-100k").iterdir())))
"""


def start_child(folder: Path, source: fetch.Source) -> subprocess.Popen:
    """Start another Python that is ready to fetch; a line on its stdin sets it off."""
    sums = ",".join(f"{name}={value}" for name, value in CHECKSUMS.items())
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", CHILD, str(folder), source.address, sums]
    child = subprocess.Popen(command, text=True, cwd=Path(__file__).parent.parent, **pipes)
    assert child.stdout.readline().strip() == "ready"
    return child


def test_two_processes_at_once_download_once(made_up, mirrors):
    def slowly(handler):
        time.sleep(0.7)  # long enough for the second process to arrive
        send(GOOD_ZIP)(handler)

    source = mirrors.source("a", slowly)
    children = [start_child(made_up, source) for _ in range(2)]
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        out, err = child.communicate(timeout=30)
        assert (child.returncode, out.strip()) == (0, "3"), err
    assert mirrors.asked == ["/a"]
    assert contents(made_up) == COMPLETE


def test_a_killed_download_does_not_disturb_the_next(made_up, mirrors):
    child = start_child(made_up, mirrors.source("a", mirrors.stall))
    child.stdin.write("\n")
    child.stdin.flush()
    deadline = time.monotonic() + 20
    while not list(made_up.glob(".fetch-*/archive.zip")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.communicate()
    assert list(made_up.glob(".fetch-*/archive.zip"))  # it was in the middle of the download
    (made_up / "ml-100k" / "u.data.part").write_bytes(RATINGS[:7])
    fetch.fetch_movielens(made_up, [mirrors.source("b", send(GOOD_ZIP))])
    assert {path for path in contents(made_up) if not path.startswith(".fetch-")} == COMPLETE
    assert len(data.load_ratings()) == 3


def test_lock_held_too_long(made_up, mirrors, monkeypatch):
    monkeypatch.setattr(fetch, "LOCK_SECONDS", 0.2)
    made_up.mkdir()
    held, done = threading.Event(), threading.Event()

    def hold():
        with filelock.FileLock(made_up / ".fetch.lock"):
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        message = fetch_error(made_up, mirrors.source("a", send(GOOD_ZIP)))
    finally:
        done.set()
        thread.join()
    assert "Another program has been fetching" in message and "0.2 s" in message
    assert mirrors.asked == []


# --- pip ------------------------------------------------------------------------------------------


@pytest.fixture
def index(mirrors, monkeypatch):
    """A package index on the local server, holding a made-up recbole 1.2.1."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{mirrors.url}/simple")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    wheel = "recbole-1.2.1-py3-none-any.whl"
    page = f'<!DOCTYPE html><html><body><a href="/{wheel}">{wheel}</a></body></html>'.encode()
    mirrors.replies["/simple/recbole/"] = send(page, kind="text/html")
    about = "recbole-1.2.1.dist-info/"
    metadata = {
        about + "METADATA": b"Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n",
        about + "WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        about + "RECORD": b"",
        "recbole/big": os.urandom(1_000_000),  # pip shows no progress for small files
    }
    tables = {f"recbole/dataset_example/ml-100k/{name}": FILES[name] for name in fetch.WHEEL}
    mirrors.replies[f"/{wheel}"] = send(make_zip({**metadata, **tables}))
    return mirrors


def test_wheel_through_pip(made_up, index, capfd):
    fetch.fetch_movielens(made_up, [fetch.SOURCES[-1]])
    assert contents(made_up) == {"ml-100k", *(f"ml-100k/{name}" for name in fetch.WHEEL)}
    assert len(data.load_ratings()) == 3
    out, err = capfd.readouterr()
    assert out == "" and "100%" in err
    # Downloaded and never installed.
    assert subprocess.run([*fetch.PIP, "show", "-q", "recbole"], capture_output=True).returncode


def test_pip_finds_no_such_version(made_up, index):
    message = fetch_error(made_up, fetch.Source("pip", "recbole==9.9"))
    assert "pip: pip refused: ERROR: Could not find a version" in message


def test_pip_cannot_reach_the_index(made_up, index):
    index.close()
    message = fetch_error(made_up, fetch.SOURCES[-1])
    assert "pip could not reach its package index. Is the network on?" in message


def test_pip_is_missing(made_up, monkeypatch):
    # -S leaves out site-packages, so this Python has no pip.
    monkeypatch.setattr(fetch, "PIP", (sys.executable, "-I", "-S", "-m", "pip"))
    message = fetch_error(made_up, fetch.SOURCES[-1])
    assert "pip is missing (python -m ensurepip brings it)" in message


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["Retrying after connection broken by 'X'", "ERROR: none"], "could not reach"),
        (["HTTPSConnectionPool: Max retries exceeded"], "could not reach"),
        (["connection broken by 'SSLError(CERTIFICATE_VERIFY_FAILED)'"], "TLS certificate"),
        (["a", "ERROR: needs a virtualenv", "ERROR: b"], "pip refused: ERROR: needs a virtualenv"),
        (["usage:", "pip: error: invalid choice"], "pip refused: pip: error: invalid choice"),
        (["ERROR: Exception:", "Traceback", "KeyError: 1"], "pip refused: KeyError: 1"),
        ([], "no reason given"),
    ],
)
def test_reasons_that_pip_gives(lines, reason):
    assert reason in fetch._pip_reason(lines)


def test_full_disk_while_pip_downloads(made_up, monkeypatch):
    code = "import sys; sys.exit('OSError: [Errno 28] No space left on device')"
    monkeypatch.setattr(fetch, "PIP", (sys.executable, "-c", code))
    assert "The disk is full" in fetch_error(made_up, fetch.SOURCES[-1])


def test_what_a_failed_pip_leaves_is_not_used(made_up, monkeypatch):
    code = "import sys; open(sys.argv[-1] + '/a.whl', 'w').close(); sys.exit('ERROR: half done')"
    monkeypatch.setattr(fetch, "PIP", (sys.executable, "-c", code))
    assert "pip refused: ERROR: half done" in fetch_error(made_up, fetch.SOURCES[-1])


def test_pip_is_stopped_when_the_user_stops_the_cell(made_up, monkeypatch):
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    class Stopped(data.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    code = "import time; print('Progress 1 of 2', flush=True); time.sleep(60)"
    monkeypatch.setattr(fetch, "PIP", (sys.executable, "-c", code))
    monkeypatch.setattr(data, "tqdm", Stopped)
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch_movielens(made_up, [fetch.SOURCES[-1]])
    assert started[0].wait(timeout=10) != 0  # it would sleep for a minute
    assert contents(made_up) == {"ml-100k"}


# --- Reading --------------------------------------------------------------------------------------


def test_load_ratings_in_file_order(made_up):
    put(made_up)
    table = data.load_ratings()
    assert table.columns.tolist() == ["user_id", "movie_id", "rating", "timestamp"]
    assert (table.dtypes == "int64").all()
    assert table.to_numpy().tolist() == [
        [1, 267, 3, 881250949],
        [2, 1, 5, 891717742],
        [2, 543, 1, 878887116],
    ]


@pytest.mark.parametrize("read", [data.load_ratings, data.load_movies, data.load_users])
def test_both_forms_give_the_same_tables(made_up, tmp_path, monkeypatch, read):
    put(made_up, fetch.OFFICIAL)
    official = read()
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "wheel"))
    put(tmp_path / "wheel", fetch.WHEEL)
    pd.testing.assert_frame_equal(read(), official)


@pytest.mark.parametrize("names", [fetch.OFFICIAL, fetch.WHEEL])
def test_load_movies(made_up, names):
    put(made_up, names)
    movies = data.load_movies().set_index("movie_id")
    assert movies.columns.tolist() == ["title", "year", "genres"]
    assert (movies.index.dtype, movies["year"].dtype) == ("int64", "Int64")
    assert movies.loc[1].tolist() == ["Toy Story", 1995, "Animation|Children's|Comedy"]
    assert movies.loc[12, "title"] == "Usual Suspects, The"
    assert movies.loc[267, "title"] == "unknown" and pd.isna(movies.loc[267, "year"])
    assert movies.loc[267, "genres"] == "unknown"
    assert movies.loc[543, "title"] == "Misérables, Les"
    assert movies.loc[1201].tolist()[:2] == ["Marlene Dietrich: Shadow and Light", 1996]
    title = "Land Before Time III: The Time of the Great Giving"
    assert movies.loc[1412].tolist()[:2] == [title, 1995]
    assert movies.loc[1633].tolist()[:2] == ["Á köldum klaka (Cold Fever)", 1994]
    assert movies["genres"].str.get_dummies().loc[1].sum() == 3


@pytest.mark.parametrize("names", [fetch.OFFICIAL, fetch.WHEEL])
def test_load_users(made_up, names):
    put(made_up, names)
    users = data.load_users()
    assert users.columns.tolist() == ["user_id", "age", "gender", "occupation", "zip_code"]
    assert (users["user_id"].dtype, users["age"].dtype) == ("int64", "int64")
    assert users.to_numpy().tolist() == [
        [1, 24, "M", "technician", "05711"],
        [2, 53, "F", "other", "T8H1N"],
    ]


@pytest.mark.parametrize(
    "content",
    [RATINGS, RATINGS.rstrip(), RATINGS.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + RATINGS],
)
def test_load_ratings_from_a_file(tmp_path, content):
    path = tmp_path / "mine.tsv"
    path.write_bytes(content)
    assert data.load_ratings(path).loc[2].tolist() == [2, 543, 1, 878887116]
    assert data.load_ratings(str(path)).shape == (3, 4)


@pytest.mark.parametrize(
    "bad",
    [
        "5\t6\t3",  # a column is missing
        "5\t6\t3\t881250949\t1",  # a column too many
        "",
        "   ",
        "5\tsix\t3\t881250949",
        "5\t6\t3\t88125o949",
        "5\t6\t3.5\t881250949",
        "-5\t6\t3\t881250949",
        "5\t6\t0\t881250949",
        "5\t6\t6\t881250949",
        "5\t6\t3\t" + "9" * 19,  # does not fit in int64
        "5\t٦\t3\t881250949",  # a digit, but not one of ours
        "5,6,3,881250949",
    ],
)
@pytest.mark.parametrize(("good_lines", "line"), [(0, 1), (2, 3)])
def test_a_malformed_line_is_named(tmp_path, bad, good_lines, line):
    path = tmp_path / "mine.tsv"
    path.write_text("1\t2\t3\t4\n" * good_lines + bad + "\n1\t2\t3\t4\n", encoding="utf-8")
    with pytest.raises(data.DataError) as caught:
        data.load_ratings(path)
    message = str(caught.value)
    assert f"{path}, line {line} is {bad!r}. Expected: four whole numbers" in message
    assert "(user_id, movie_id, rating, timestamp), the rating from 1 to 5" in message


def test_the_header_of_the_wheel_form_counts_as_a_line(tmp_path):
    path = tmp_path / "ml-100k.inter"
    path.write_text(f"{tables.INTER_HEADER}\n1\t2\t3\t4\n1\t2\t9\t4\n")
    with pytest.raises(data.DataError, match="line 3 is "):
        data.load_ratings(path)
    # Only the first line may be a header.
    for header in (tables.INTER_HEADER, "user_id\tmovie_id\trating\ttimestamp"):
        path.write_text(f"1\t2\t3\t4\n{header}\n")
        with pytest.raises(data.DataError, match="line 2 is "):
            data.load_ratings(path)


def test_bytes_that_are_not_text_are_named(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_bytes(b"1\t2\t3\t4\n1\t2\t\xff\xfe\t4\n")
    with pytest.raises(data.DataError, match="line 2 is "):
        data.load_ratings(path)


@pytest.mark.parametrize("content", ["", f"{tables.INTER_HEADER}\n"])
def test_a_file_without_ratings_is_refused(tmp_path, content):
    path = tmp_path / "mine.tsv"
    path.write_text(content)
    with pytest.raises(data.DataError, match="mine.tsv, line 1: there are no ratings"):
        data.load_ratings(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(data.DataError, match="Cannot read .*mine.tsv: No such file"):
        data.load_ratings(tmp_path / "mine.tsv")


# --- A table of your own --------------------------------------------------------------------------

MINE = "user,item,rating,timestamp\nBen,Dune,4.5,20\n007,Emma,3,10\n7,Dune,0.5,30\nBen,Emma,10,40\n"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "mine.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(folder: Path, content: str | bytes, **names) -> str:
    """Load a file that must be refused; return the message without the path that it begins with."""
    path = write(folder, content)
    with pytest.raises(data.DataError) as caught:
        data.load_ratings(path, **names)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


def test_a_table_of_your_own(tmp_path):
    table = data.load_ratings(write(tmp_path, MINE))
    assert table.columns.tolist() == ["user_id", "movie_id", "rating", "timestamp", "user", "item"]
    assert table.dtypes.astype(str).tolist() == ["int64", "int64", "float64", "int64", "category", "category"]
    # Sorted as text: "007" < "7" < "Ben", each a user of its own; "Dune" < "Emma".
    assert table["user_id"].tolist() == [2, 0, 1, 2] and table["movie_id"].tolist() == [0, 1, 0, 1]
    assert table["rating"].tolist() == [4.5, 3, 0.5, 10] and table["timestamp"].tolist() == [20, 10, 30, 40]
    assert table["user"].tolist() == ["Ben", "007", "7", "Ben"]
    assert table["item"].cat.categories.tolist() == ["Dune", "Emma"]


def test_codes_lead_back_to_the_ids_after_splitting_and_merging(tmp_path):
    table = data.load_ratings(made.write_example(tmp_path / "books.csv"))
    lines = pd.read_csv(tmp_path / "books.csv", dtype=str)
    assert table["user"].astype(str).tolist() == lines["reader"].tolist()
    assert table["item"].astype(str).tolist() == lines["book"].tolist()
    for code in ("user_id", "movie_id"):
        assert sorted(table[code].unique()) == list(range(table[code].nunique()))
    train, test = data.split_ratings(table)
    for part in (train, test, test.iloc[:1], pd.concat([test, train]), test.sort_values("rating")):
        for code, name, column in (("user_id", "user", "reader"), ("movie_id", "item", "book")):
            assert part[name].cat.categories[part[code]].tolist() == lines.loc[part.index, column].tolist()


def test_the_order_of_the_lines_does_not_change_the_codes(tmp_path):
    header, *lines = MINE.splitlines(keepends=True)
    table = data.load_ratings(write(tmp_path, MINE))
    turned = data.load_ratings(write(tmp_path, header + "".join(reversed(lines))))
    pd.testing.assert_frame_equal(turned.iloc[::-1].reset_index(drop=True), table)


FORMS = {
    "tabs": MINE.replace(",", "\t"),
    "semicolons": MINE.replace(",", ";"),
    "Windows": MINE.replace("\n", "\r\n"),
    "old Mac": MINE.replace("\n", "\r"),
    "byte order mark": b"\xef\xbb\xbf" + MINE.encode(),
    "no last line end": MINE.rstrip(),
    "empty lines": MINE.replace("\n", "\n\n") + "\n\n",
    "quotation marks": MINE.replace("Dune", '"Dune"'),
    "MovieLens' names": MINE.replace("user,item,rating", "userId,movieId,rating"),
    "blanks in names": MINE.replace("user,item,rating,timestamp", " USER_ID , Movie ID,Stars,Time"),
    "names in quotation marks": MINE.replace("user,item,rating", '"User-ID","ISBN","Book-Rating"'),
    "other columns": "x,user,item,rating,timestamp\n" + "".join(f"y,{row}\n" for row in MINE.split()[1:]),
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS.keys())
def test_forms_of_the_same_table(tmp_path, content):
    expected = data.load_ratings(write(tmp_path, MINE))
    pd.testing.assert_frame_equal(data.load_ratings(write(tmp_path, content)), expected)
    pd.testing.assert_frame_equal(data.load_ratings(str(tmp_path / "mine.csv")), expected)


def test_fields_in_quotation_marks_and_korean_ids(tmp_path):
    content = 'item,rating,user\n"Dune, ""Part""\nTwo",4,민수\n어린 왕자,5,민수\n어린 왕자,x,지우\n'
    # The first rating takes two lines of the file.
    assert ":\n  - line 5 has the rating 'x'" in refused(tmp_path, content)
    table = data.load_ratings(write(tmp_path, content.replace("x", "1")))
    assert table["item"].tolist() == ['Dune, "Part"\nTwo', "어린 왕자", "어린 왕자"]
    assert table["user"].tolist() == ["민수", "민수", "지우"]


def test_words_like_na_are_ids_and_the_time_may_be_missing(tmp_path):
    table = data.load_ratings(write(tmp_path, "user,item,rating\nNA,null,2\nnan,None, 3 \n"))
    assert table.columns.tolist() == ["user_id", "movie_id", "rating", "user", "item"]
    assert table["user"].tolist() == ["NA", "nan"] and table["item"].tolist() == ["null", "None"]
    assert table["rating"].tolist() == [2, 3]


def test_columns_with_names_of_their_own(tmp_path):
    content = "who,title,stars,when\nAnn,Dune,4,7\n"
    table = data.load_ratings(write(tmp_path, content), user="who", item="title", timestamp="when")
    assert table.iloc[0].tolist() == [0, 0, 4.0, 7, "Ann", "Dune"]
    assert "timestamp" not in data.load_ratings(write(tmp_path, content), user="who", item="title")
    # A byte order mark is no part of the first name.
    table = data.load_ratings(write(tmp_path, "\ufeff" + content), user="who", item="title")
    assert table["user"].tolist() == ["Ann"]
    # A name that is given beats one that would be recognized.
    table = data.load_ratings(write(tmp_path, "user,item,rating,score\na,b,1,9\n"), rating="score")
    assert table["rating"].tolist() == [9]


def test_a_name_that_is_not_in_the_header_line(tmp_path):
    message = refused(tmp_path, "who,title,stars\nAnn,Dune,4\n", user="reader", item="title")
    assert message.startswith(", line 1: the header line has the columns ['who', 'title', 'stars'].")
    assert "Expected: one column 'reader', but there are 0. Correct the header line, or name" in message
    assert "Expected: one column 'Timestamp'," in refused(tmp_path, MINE, timestamp="Timestamp")
    with pytest.raises(ValueError, match="give its path as well"):
        data.load_ratings(user="who")


@pytest.mark.parametrize(
    "first",
    ["Ann,Dune,4", "who;what;how much", "user item rating", '"user,item,rating', "[" + '"a",' * 99_999],
    ids=["data", "other names", "spaces", "open quotation mark", "JSON"],
)
def test_no_header_line(tmp_path, first):
    message = refused(tmp_path, f"{first}\nAnn,Dune,5\n")
    assert f", line 1 is {first[:80]!r}. Expected: four whole numbers" in message
    assert "a header line with columns for user, item and rating" in message
    assert "Add one, or name the columns: load_ratings(path, user='...'" in message


@pytest.mark.parametrize(
    ("first", "role"),
    [
        ("who,item,rating", "user"),
        ("user\ttitle\trating", "item"),
        ("user;item;note", "rating"),
        ("item", "user"),
    ],
)
def test_a_header_line_that_lacks_a_column(tmp_path, first, role):
    message = refused(tmp_path, f"{first}\nAnn,Dune,5\n")
    names = ", ".join(repr(name) for name in re.split("[,;\t]", first))
    assert message.startswith(f", line 1: the header line has the columns [{names}]. ")
    assert f"Expected: one column for the {role}, called {role}, " in message and "there are 0." in message
    assert f"load_ratings(path, {role}='its name')" in message


def test_a_header_line_that_is_not_csv(tmp_path):
    assert ", line 1 is not CSV (" in refused(tmp_path, '"user"x,item,rating,user\nAnn,Dune,5,a\n')


def test_two_columns_that_could_be_the_item(tmp_path):
    content = "user,movie,book,rating\na,b,c,1\n"
    message = refused(tmp_path, content)
    assert ", line 1: the header line has the columns ['user', 'movie', 'book', 'rating']." in message
    assert "one column for the item, called item, itemid," in message and "but there are 2" in message
    assert "load_ratings(path, item='its name')" in message
    assert data.load_ratings(write(tmp_path, content), item="book")["item"].tolist() == ["c"]


PROBLEMS = {
    "too few fields": ("Ann,Emma,4", "has 3 fields, ['Ann', 'Emma', '4']. Expected: 4, as in the header line."),
    "too many fields": ("Ann,Emma, a novel,4,5", "put a field that holds ',' into quotation marks"),
    "blanks only": ("  ", "has 1 field, ['  ']. Expected: 4"),
    "no user": (",Emma,4,5", "has no user. Fill it in, or delete the line."),
    "no item": ("Ann, ,4,5", "has no item. Fill it in"),
    "no rating": ("Ann,Emma,,5", "has no rating. Fill it in"),
    "no timestamp": ("Ann,Emma,4,", "has no timestamp. Fill it in"),
    "word": (
        "Ann,Emma,four,5",
        "has the rating 'four'. Expected: a number such as 4 or 3.5, with a decimal point.",
    ),
    "decimal comma": ('Ann,Emma,"4,5",5', "has the rating '4,5'. Expected: a number"),
    "not a number": ("Ann,Emma,nan,5", "has the rating 'nan'. Expected: a number"),
    "infinite": ("Ann,Emma,-inf,5", "has the rating '-inf'. Expected: a number"),
    "too large": ("Ann,Emma,1e999,5", "has the rating '1e999'. Expected: a number"),
    "date": ("Ann,Emma,4,2026-11-24", "has the timestamp '2026-11-24'. Expected: seconds since 1970"),
    "half a second": ("Ann,Emma,4,1.5", "has the timestamp '1.5'"),
    "before 1970": ("Ann,Emma,4,-1", "has the timestamp '-1'"),
    "milliseconds": ("Ann,Emma,4,1764000000000", "Convert dates; divide milliseconds by 1000."),
    "pair twice": (
        "Ben,Dune,1,5",
        "rates the same pair as line 2: user 'Ben', item 'Dune'. Expected: one rating",
    ),
}


@pytest.mark.parametrize(("line", "words"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_a_wrong_line_of_a_table_is_named(tmp_path, line, words):
    message = refused(tmp_path, MINE + line + "\nZoe,Dune,1,2\n")
    assert message.startswith(" has 1 problem:\n  - line 6 ") and words in message


def test_the_first_problems_are_shown_in_order_and_the_others_counted(tmp_path):
    bad = "x\n" + "Ann,Emma,four,\n" * 3 + "\n" + "Eve,Dune,1,2\n" * 2 + "y\n"
    message = refused(tmp_path, MINE + bad)
    # Lines 6 and 13 have one field; 7, 8, 9 lack a time and have no number; 8, 9 and 12 rate a pair again.
    numbers = [int(line.split()[2]) for line in message.splitlines()[1:-1]]
    assert message.startswith(" has 11 problems:") and numbers == [6, 7, 7, 8, 8]
    assert message.endswith("\n  - and 6 more")


def test_rows_without_an_id_are_no_pair_twice(tmp_path):
    message = refused(tmp_path, MINE + ",Dune,1,2\n,Dune,1,2\nAnn,,1,2\nAnn,,1,2\n")
    assert message.startswith(" has 4 problems:") and "same pair" not in message


@pytest.mark.parametrize("content", ["user,item,rating\n", "user,item,rating", "user,item,rating\n\n\r\n"])
def test_a_header_line_alone_is_refused(tmp_path, content):
    expected = ", line 2: there are no ratings below the header line. Add one rating a line."
    assert refused(tmp_path, content) == expected


def test_an_empty_file_with_names_is_refused(tmp_path):
    message = refused(tmp_path, " \n", user="who")
    assert message == ", line 1: the file is empty. Expected: a header line, then one rating a line."


def test_a_table_of_nothing_but_wrong_lines(tmp_path):
    assert refused(tmp_path, "user,item,rating\na,b\n").startswith(" has 1 problem:\n  - line 2 has 2 fields")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (MINE.encode("utf-16"), 1),
        ("user,item,rating\nAnn,Dune,4\n민수,어린 왕자,5\n".encode("cp949"), 3),
        ("user,item,rating,größe\nAnn,Dune,4,\n".encode("latin-1"), 1),
        (b"\xef\xbb\xbfuser,item,rating\nAnn,Dune\xff,4\n", 2),
    ],
    ids=["UTF-16", "Korean", "Latin", "after a byte order mark"],
)
def test_another_encoding_is_refused(tmp_path, content, line):
    message = refused(tmp_path, content)
    assert f", line {line} is not UTF-8 text: the byte 0x" in message and "Save it again" in message


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('"Dune" by Herbert', "expected after"),
        ('"Dune', "unexpected end"),
        ('"' + "x" * 200_000, "field limit"),
    ],
    ids=["text behind", "never closed", "very long"],
)
def test_quotation_marks_that_do_not_match(tmp_path, bad, reason):
    message = refused(tmp_path, MINE + f"Ann,{bad},4,5\nZoe,Dune,1,2\n")
    assert ", line 6 is not CSV (" in message and reason in message and "Correct the marks" in message


def test_a_table_that_can_not_be_read(tmp_path):
    for path in (tmp_path / "mine.csv", tmp_path):
        for names in ({}, {"user": "who"}):
            with pytest.raises(data.DataError, match=f"Cannot read {path}: "):
                data.load_ratings(path, **names)


def test_the_baselines_work_on_a_table_of_your_own(tmp_path):
    train, test = data.split_ratings(data.load_ratings(made.write_example(tmp_path / "books.csv")))
    scores = baseline_scores(train, test)
    assert scores["both biases"] < min(scores["user mean"], scores["movie mean"]) < scores["global mean"]


# --- The example ----------------------------------------------------------------------------------


def test_the_example_follows_from_its_seed(tmp_path):
    first, again, other = (
        made.write_example(tmp_path / name, seed).read_bytes() for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again != other
    assert first.startswith(b"reader,book,stars,time\n") and b"\r" not in first


def test_the_example_is_what_its_docstring_says(tmp_path):
    table = data.load_ratings(made.write_example(tmp_path / "deep" / "er" / "books.csv"))
    assert 9_000 < len(table) < 11_000 and table["timestamp"].is_monotonic_increasing
    assert set(table["rating"]) == {half / 2 for half in range(1, 11)}
    assert table["user"].astype(str).str.fullmatch("[0-9]{4}").all()
    assert table["user"].astype(str).str.startswith("0").any()
    assert table["item"].astype(str).str.contains(",").any()  # so the file needs quotation marks
    per_reader = table.groupby("user_id").size()
    assert len(per_reader) == 250 and per_reader.min() >= 20 and per_reader.max() <= 60
    assert table["movie_id"].nunique() == 200


def test_the_example_overwrites_nothing(tmp_path):
    path = write(tmp_path, "mine")
    with pytest.raises(FileExistsError, match="mine.csv exists. Move it away"):
        made.write_example(path)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


def test_the_example_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(OSError, match="No space left"):
        made.write_example(tmp_path / "books.csv")
    assert list(tmp_path.iterdir()) == []


# --- Splitting ------------------------------------------------------------------------------------


def test_split_options():
    table = pd.DataFrame({"rating": range(10)}, index=range(100, 110))
    train, test = data.split_ratings(table, test_size=0.3, seed=1)
    assert (len(train), len(test)) == (7, 3)
    assert sorted([*train.index, *test.index]) == list(range(100, 110))
    assert not data.split_ratings(table, test_size=0.3, seed=2)[1].equals(test)
    assert data.split_ratings(table, test_size=0.3, seed=1)[1].equals(test)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_official_fold(k):
    table = pd.DataFrame({"row": range(100_000)})
    train, test = data.official_fold(table, k)
    rows = list(range((k - 1) * 20_000, k * 20_000))
    assert test["row"].tolist() == rows == test.index.tolist()
    assert train["row"].tolist() == sorted(set(range(100_000)) - set(rows))


@pytest.mark.parametrize("k", [0, 6, -1, 1.5, "u1"])
def test_official_fold_refuses_other_numbers(k):
    with pytest.raises(ValueError, match="k must be 1, 2, 3, 4 or 5, not"):
        data.official_fold(pd.DataFrame({"row": range(100_000)}), k)


def test_official_fold_needs_all_ratings():
    with pytest.raises(ValueError, match="this table has 99,999 rows"):
        data.official_fold(pd.DataFrame({"row": range(99_999)}), 1)


# --- The real data --------------------------------------------------------------------------------


def test_the_real_ratings(ratings):
    assert ratings.shape == (100_000, 4)
    assert (ratings.dtypes == "int64").all()
    assert ratings.loc[0].tolist() == [196, 242, 3, 881250949]
    assert ratings.loc[99_999].tolist() == [12, 203, 3, 879959583]
    assert (ratings["user_id"].nunique(), ratings["movie_id"].nunique()) == (943, 1682)


def test_the_split_is_the_one_of_the_source(ratings):
    # Six rows of the test set that the course's source prints: index, user, movie, rating, time.
    published = [
        [23307, 468, 51, 3, 875293386],
        [36679, 92, 780, 3, 875660494],
        [36626, 555, 489, 5, 879975455],
        [83753, 940, 69, 2, 885921265],
        [52604, 181, 1350, 1, 878962120],
        [49877, 320, 195, 5, 884749255],
    ]
    train, test = data.split_ratings(ratings)
    assert (len(train), len(test)) == (80_000, 20_000)
    assert test.loc[[row[0] for row in published]].reset_index().to_numpy().tolist() == published
    assert test.index[:6].tolist() == [row[0] for row in published]
    assert train["rating"].mean() == pytest.approx(3.5294625, abs=1e-12)


def test_the_folds_cover_the_real_ratings(ratings):
    tests = [data.official_fold(ratings, k)[1] for k in range(1, 6)]
    pd.testing.assert_frame_equal(pd.concat(tests), ratings)


@pytest.mark.usefixtures("ratings")  # so that the data are there
def test_the_real_movies_and_users():
    movies = data.load_movies().set_index("movie_id")
    assert movies.index.tolist() == list(range(1, 1683))
    assert movies["year"].isna().sum() == 1 and movies["year"].isna().loc[267]
    assert (movies["year"].min(), movies["year"].max()) == (1922, 1998)
    assert set(movies["genres"].str.get_dummies().columns) == set(data.GENRES)
    assert movies.loc[543, "title"] == "Misérables, Les"
    title = "Land Before Time III: The Time of the Great Giving"
    assert movies.loc[1412].tolist() == [title, 1995, "Animation|Children's"]
    assert not movies["title"].str.fullmatch(r".*\([0-9]{4}\).*|\s.*|.*\s").any()
    users = data.load_users()
    assert users.shape == (943, 5)
    assert users["user_id"].tolist() == list(range(1, 944))
    assert set(users["gender"]) == {"F", "M"}
    assert users["zip_code"].str.len().eq(5).all()
