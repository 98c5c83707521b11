"""What every protocol keeps to, one that is added as a file included."""

import tomllib

import pytest

from owdfa import catalog
from owdfa.protocols import describe, read_protocol

NAMES = [name for name, _ in describe()]


def test_every_file_gives_a_protocol() -> None:
    assert {name.partition("/")[0] for name in NAMES} == set(catalog.names("protocols"))
    for file in catalog.names("protocols"):
        assert tomllib.loads(catalog.text("protocols", file))


@pytest.mark.parametrize("name", NAMES)
def test_its_classes_are_disjoint_and_its_shares_are_shares(name: str) -> None:
    protocol = read_protocol(name)
    both = (*protocol.known, *protocol.novel)
    assert protocol.known
    assert protocol.novel or protocol.sources.labelled  # something to find, or to know again
    assert len(set(both)) == len(both)
    assert all(share is None or 0 < share < 1 for share in (protocol.labelled, protocol.test))
