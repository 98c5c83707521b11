"""Lab's methods trained from other seeds, and the split that asks whether they are known again."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from owdfa.datasets.lab import LabSettings, draw, read
from owdfa.datasets.lab.decoder import draw_decoder, draw_weights
from owdfa.datasets.lab.image import draw_image
from owdfa.datasets.lab.settings import class_names, parameter_seed
from owdfa.errors import UserError
from owdfa.records.split import Split
from owdfa.stages.scan import scan
from owdfa.stages.split import SplitOptions, split

SMALL = LabSettings(
    methods_per_family=1, images_per_method=18, real_images=18, size=32, frames_per_identity=1
)
THREE = SMALL.model_copy(update={"parameter_seeds": 3})


def test_the_first_copy_of_each_method_is_the_one_without_copies():
    for class_ in class_names(THREE):
        for index in range(4):
            same = draw_image(THREE, class_, index) == draw_image(SMALL, class_, index)
            assert same == (class_ == "real" or parameter_seed(THREE, index) == 1)


def test_a_person_meets_one_copy_and_all_are_met_alike():
    several = THREE.model_copy(update={"frames_per_identity": 5})
    found = [parameter_seed(several, index) for index in range(30)]
    assert found == [k for _ in range(2) for k in (1, 2, 3) for _ in range(5)]
    assert {parameter_seed(SMALL, index) for index in range(30)} == {1}


@pytest.mark.parametrize("seed", range(5))
def test_other_weights_leave_the_architecture(seed):
    decoder = draw_decoder(np.random.default_rng(seed))
    other = draw_weights(decoder, np.random.default_rng(99))
    for name in ("scale", "kinds", "depths", "cubic"):
        assert getattr(other, name) == getattr(decoder, name)
    for mine, theirs in zip(decoder.flaws, other.flaws, strict=True):
        assert mine.shape == theirs.shape
        assert not np.allclose(mine, theirs)
    assert not np.allclose(decoder.colour, other.colour)
    assert other.smoothing != decoder.smoothing
    again = draw_weights(replace(decoder, noise=0.0), np.random.default_rng(99))
    np.testing.assert_array_equal(again.flaws, other.flaws)  # of the architecture and the seed


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    draw(folder / "images", THREE, jobs=1)
    sources = Counter(entry.source for entry in read(str(folder / "images")))
    assert sources == {f"seed-{k}": 5 * 6 for k in (1, 2, 3)}
    scan(f"lab:{folder / 'images'}", folder / "images.parquet")
    return folder / "images.parquet"


def seeds(made: Split, role: str) -> set[int]:
    """Parameter seeds of the images of a role."""
    names = made.with_role(role)["id"].to_pylist()
    return {parameter_seed(THREE, int(name[-10:-4])) for name in names}


def test_labels_are_of_one_seed_and_test_images_of_others(manifest, tmp_path):
    made = {
        name: split(manifest, tmp_path / name, options=SplitOptions(protocol=f"lab/{name}"))
        for name in ("other-seeds", "same-seed")
    }
    for each in made.values():
        assert each.known[0] == "real"
        assert set(each.known) == set(class_names(THREE))
        assert each.novel == ()
        assert seeds(each, "labelled") == {1}
        assert seeds(each, "unlabelled") == {1, 2, 3}
    assert seeds(made["other-seeds"], "test") == {2, 3}
    assert seeds(made["same-seed"], "test") == {1}


def test_images_without_such_sources_are_refused(tmp_path):
    draw(tmp_path / "images", SMALL, jobs=1)
    scan(f"lab:{tmp_path / 'images'}", tmp_path / "images.parquet")
    options = SplitOptions(protocol="lab/other-seeds")
    with pytest.raises(UserError, match="no source 'seed-1'; there are: lab"):
        split(tmp_path / "images.parquet", tmp_path / "split", options=options)
