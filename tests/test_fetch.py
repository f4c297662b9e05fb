"""Tests of course_utils.fetch on made-up files and a local server. No network is needed."""

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
import tarfile
import threading
import time
import zipfile
from pathlib import Path

from course_utils import data, fetch
from tools.course import ROOT
from tools.patience import patience

import filelock
import pytest
import requests
import trustme
from made_up import CHECKSUMS, COMPLETE, FILES, GOOD_ZIP, RATINGS, contents, make_zip, no_space, put, use


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """An empty data folder that takes the made-up files for the real ones."""
    return use(monkeypatch, tmp_path / "data")


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


def test_the_sources_have_the_names_that_the_guide_to_the_data_uses():
    guide = (ROOT / "data/README.md").read_text("utf-8")
    places = guide.index("2. GroupLens"), guide.index("Hugging Face"), guide.index("Python package `recbole`")
    assert list(places) == sorted(places)
    assert [source.name for source in fetch.SOURCES] == ["GroupLens", "Hugging Face", "pip (recbole)"]


def test_the_checksums_are_those_of_the_real_files():
    assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in fetch.SHA256.values())
    for path in fetch.find_tables(fetch.fetch_movielens()):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == fetch.SHA256[path.name]


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
    assert "/5.00M [" in err and re.search(r"[\dkM]B/s", err), "it counts bytes, and writes millions as M"


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
    assert f"No permission to use {made_up / 'ml-100k'}:" in message
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


@pytest.mark.parametrize("when", ["write", "fsync", "download"])
def test_full_disk(made_up, mirrors, monkeypatch, when):
    class FullDisk(io.BytesIO):
        """A file that takes a few bytes and then no more."""

        write = no_space

    def open_on_full_disk(path, mode="r", **kwargs):
        if Path(path).name != "u.item.part":
            return open(path, mode, **kwargs)
        Path(path).write_bytes(b"the first bytes")
        return FullDisk()

    if when == "write":
        monkeypatch.setattr(fetch, "open", open_on_full_disk, raising=False)
    elif when == "fsync":
        monkeypatch.setattr(os, "fsync", no_space)
    else:
        monkeypatch.setattr(fetch.pooch.HTTPDownloader, "__call__", no_space)
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


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_on_the_disk_or_in_the_quota(made_up, mirrors, monkeypatch, code):
    def refuse(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    assert "The disk is full" in fetch_error(made_up, mirrors.source("a", send(GOOD_ZIP)))


def test_files_are_synced_before_they_get_their_name(made_up, mirrors, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append(os.fstat(handle).st_size), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda part, path: (steps.append(Path(path).name), replace(part, path)))
    fetch.fetch_movielens(made_up, [mirrors.source("a", send(GOOD_ZIP))])
    # The size at the time of fsync: everything has left Python's own buffer.
    assert steps == [step for name in fetch.OFFICIAL for step in (len(FILES[name]), name)]


def test_a_part_file_that_can_not_be_made_is_the_reason(made_up, mirrors, monkeypatch):
    def refuse(path, mode="r", **kwargs):
        if Path(path).suffix == ".part":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open(path, mode, **kwargs)

    monkeypatch.setattr(fetch, "open", refuse, raising=False)
    message = fetch_error(made_up, mirrors.source("a", send(GOOD_ZIP)))
    assert f"No permission to use {made_up / 'ml-100k/u.data.part'}:" in message


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
    child = subprocess.Popen(command, text=True, cwd=ROOT, **pipes)
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
        out, err = child.communicate(timeout=patience(3))
        assert (child.returncode, out.strip()) == (0, "3"), err
    assert mirrors.asked == ["/a"]
    assert contents(made_up) == COMPLETE


def test_a_killed_download_does_not_disturb_the_next(made_up, mirrors):
    child = start_child(made_up, mirrors.source("a", mirrors.stall))
    child.stdin.write("\n")
    child.stdin.flush()
    deadline = time.monotonic() + patience(3)
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
            done.wait(patience(3))

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(patience(1))
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
        about + "METADATA": b"Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\nRequires-Dist: absent\n",
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
    assert re.search(r"pip \(recbole\): .*\d[kM]/.*[\dkM]B/s", err), "it counts bytes, and writes millions as M"
    # Downloaded and never installed, and what it depends on was not even looked for.
    assert subprocess.run([*fetch.PIP, "show", "-q", "recbole"], capture_output=True).returncode
    assert {path for path in index.asked if "simple" in path} == {"/simple/recbole/"}


def test_source_code_from_the_index_is_never_run(made_up, index, tmp_path):
    """pip runs the build code of a source package even when it only downloads. So no such package is taken."""
    marker = tmp_path / "the code was run"
    backend = f"open({str(marker)!r}, 'w').close()\n"
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    archive, name = io.BytesIO(), "recbole-1.2.1"
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for file, text in {
            "backend.py": backend,
            "setup.py": backend,
            "pyproject.toml": project,
            "PKG-INFO": "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n",
        }.items():
            member = tarfile.TarInfo(f"{name}/{file}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    index.replies[f"/{name}.tar.gz"] = send(archive.getvalue(), kind="application/gzip")
    page = f'<!DOCTYPE html><html><body><a href="/{name}.tar.gz">{name}.tar.gz</a></body></html>'
    index.replies["/simple/recbole/"] = send(page.encode(), kind="text/html")
    message = fetch_error(made_up, fetch.SOURCES[-1])
    assert not marker.exists(), "code from the index was run"
    assert "pip (recbole): pip refused" in message and index.asked == ["/simple/recbole/"]


def test_pip_gets_time_limits(made_up, monkeypatch):
    code = "import sys; sys.exit('ERROR: ' + ' '.join(sys.argv))"
    monkeypatch.setattr(fetch, "PIP", (sys.executable, "-c", code))
    message = fetch_error(made_up, fetch.SOURCES[-1])
    assert f"--timeout {fetch.CONNECT_SECONDS} --retries 2" in message


def test_pip_finds_no_such_version(made_up, index):
    assert "pip: pip refused: " in fetch_error(made_up, fetch.Source("pip", "recbole==9.9"))


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
    code = "import sys; print('Collecting'); sys.exit('OSError: [Errno 28] No space left on device')"
    monkeypatch.setattr(fetch, "PIP", (sys.executable, "-c", code))
    assert "The disk is full" in fetch_error(made_up, fetch.SOURCES[-1])


def test_what_a_failed_pip_leaves_is_not_used(made_up, monkeypatch):
    code = "import sys; open(sys.argv[-1] + '/a.whl', 'w').close(); sys.exit('ERROR: half done')"
    monkeypatch.setattr(fetch, "PIP", (sys.executable, "-c", code))
    assert "pip refused: ERROR: half done\nBy hand:" in fetch_error(made_up, fetch.SOURCES[-1])


def test_what_pip_prints_need_not_be_text(made_up, monkeypatch):
    code = r"import sys; sys.stdout.buffer.write(b'ERROR: \xff\xfe'); sys.exit(1)"
    monkeypatch.setattr(fetch, "PIP", (sys.executable, "-c", code))
    assert "pip refused: ERROR: \ufffd\ufffd\n" in fetch_error(made_up, fetch.SOURCES[-1])


def test_the_bar_goes_as_far_as_pip_says(made_up, monkeypatch):
    steps = []

    class Recorded(fetch.tqdm):
        def update(self, n=1):
            steps.append((n, self.total))
            super().update(n)

    code = r"print('Progress 1 of 9\nProgress 4 of 9\nProgress 9 of 9')"
    monkeypatch.setattr(fetch, "PIP", (sys.executable, "-c", code))
    monkeypatch.setattr(fetch, "tqdm", Recorded)
    fetch_error(made_up, fetch.SOURCES[-1])
    assert steps == [(1, 9), (3, 9), (5, 9)]


def test_pip_is_stopped_when_the_user_stops_the_cell(made_up, monkeypatch):
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    class Stopped(fetch.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    code = "import time; print('Progress 1 of 2', flush=True); time.sleep(3600)"
    monkeypatch.setattr(fetch, "PIP", (sys.executable, "-c", code))
    monkeypatch.setattr(fetch, "tqdm", Stopped)
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch_movielens(made_up, [fetch.SOURCES[-1]])
    assert started[0].wait(timeout=patience(1)) != 0  # it would sleep for an hour
    assert contents(made_up) == {"ml-100k"}
