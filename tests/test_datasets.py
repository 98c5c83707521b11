"""What every data set keeps to, one that is added as a file included."""

import inspect
from pathlib import Path

import pytest

from data_set_samples import SAMPLES
from owdfa import catalog
from owdfa.datasets import folder
from owdfa.datasets.base import ImageEntry
from owdfa.errors import UserError

NAMES = catalog.names("datasets")


@pytest.mark.parametrize("name", NAMES)
def test_every_data_set_says_what_it_is(name: str) -> None:
    adapter = catalog.load("datasets", name)
    assert adapter.DESCRIPTION.strip()
    assert "\n" not in adapter.DESCRIPTION
    assert list(inspect.signature(adapter.read).parameters) == ["root"]
    protocol = adapter.PROTOCOL
    assert protocol is None or protocol.partition("/")[0] in catalog.names("protocols")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["missing", "empty", "file"])
def test_every_data_set_refuses_what_it_is_not_in_one_line(
    name: str, place: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"\x00\xff\xfe")
    root = str(tmp_path / place)
    if (name, place) == ("folder", "empty"):
        assert list(folder.read(root)) == [], "scan says that there is nothing"
        return
    with pytest.raises(UserError) as caught:
        list(catalog.load("datasets", name).read(root))
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_listings_are_sound(name: str, tmp_path: Path) -> None:
    root = SAMPLES[name](tmp_path)
    entries = list(catalog.load("datasets", name).read(root))
    assert len({entry.id for entry in entries}) == len(entries) > 0
    for entry in entries:
        assert isinstance(entry, ImageEntry)
        assert entry.path.is_absolute()
        assert entry.path.is_file()
        assert not entry.id.startswith(("/", "./"))
        assert entry.path == tmp_path / entry.id
        assert entry.group
        assert entry.class_ != ""


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_ids_and_groups_do_not_depend_on_where_the_data_lies(name: str, tmp_path: Path) -> None:
    def told(root: Path) -> list[ImageEntry]:
        listed = catalog.load("datasets", name).read(SAMPLES[name](root))
        return sorted(entry._replace(path=Path()) for entry in listed)

    for place in ("here", "elsewhere/deeper"):
        (tmp_path / place).mkdir(parents=True)
    assert told(tmp_path / "here") == told(tmp_path / "elsewhere/deeper")
