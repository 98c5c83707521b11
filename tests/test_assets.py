"""The browser assets that others wrote: as listed, with their licences, and nothing beside them."""

import hashlib
import tomllib
from importlib.resources import files

import pytest

VENDOR = files("owdfa") / "serve" / "static" / "vendor"
LIST = "vendor.toml"
PACKAGES = tomllib.loads((VENDOR / LIST).read_text("utf-8"))["package"]
FILES = [file for package in PACKAGES for file in package["files"]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["as"])
def test_a_vendored_file_has_the_listed_sha256(file):
    content = (VENDOR / file["as"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == file["sha256"]


def test_nothing_is_vendored_that_is_not_listed():
    assert {path.name for path in VENDOR.iterdir()} == {LIST, *(file["as"] for file in FILES)}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["name"])
def test_each_package_states_its_licence_and_brings_its_text(package):
    assert package["licence"]
    assert any(file["as"].endswith(".LICENSE") for file in package["files"])
