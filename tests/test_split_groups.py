import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from owdfa.errors import UserError
from owdfa.records.manifest import Manifest
from owdfa.records.split import ROLES, Split
from owdfa.stages.split import SplitOptions, group_sampling, split
from small_manifest import counts, singles, write_manifest

PINNED = "92ad2c467f94db35e2b827aad79e4362932582be476ed921ad4a6862ca73efd9"


def test_digest_is_the_same_for_any_order_of_files(tmp_path):
    rows = [("real", f"video-{i // 3}", None) for i in range(30)]
    rows += [("fake", f"video-{i // 4}", None) for i in range(30)] + [(None, "x", None)] * 3
    rows += [("fake", f"own-{i // 2}", None) for i in range(30)]
    options = SplitOptions(known=("real",), seed=7)
    digests = set()
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(rows))
        path = write_manifest(tmp_path / f"{seed}.parquet", rows, order)
        digests.add(split(path, tmp_path / f"split-{seed}", options=options).digest())
    assert digests == {PINNED}


@st.composite
def manifests(draw):
    """Groups of several classes, several sizes; two known classes with groups of their own."""
    sizes = st.integers(1, 5)
    rows = []
    for class_ in ("a", "b", "c"):
        for group in range(4):
            rows += [(class_, f"{class_}{group}", None)] * draw(sizes)
    for group in range(draw(st.integers(0, 6))):
        for class_ in draw(st.lists(st.sampled_from(["a", "b", "c", None]), unique=True)):
            rows += [(class_, f"shared{group}", None)] * draw(sizes)
    return rows


@settings(max_examples=30, deadline=None)
@given(manifests(), st.integers(0, 2**32), st.sampled_from([0.0, 0.3]))
def test_no_group_is_cut(tmp_path_factory, rows, seed, validation):
    folder = tmp_path_factory.mktemp("split")
    manifest = write_manifest(folder / "images.parquet", rows)
    options = SplitOptions(known=("a", "b"), seed=seed, validation=validation)
    try:
        made = split(manifest, folder / "split", options=options)
    except UserError as error:  # one large group can be all that is labelled of either class
        assume("too few groups to hold any back" not in str(error))
        raise
    images = made.table.to_pylist()
    assert [image["id"] for image in images] == Manifest.read(manifest).table["id"].to_pylist()
    assert {image["role"] for image in images} <= set(ROLES)
    tested = {image["group"] for image in images if image["role"] == "test"}
    trained = {i["group"] for i in images if i["role"] not in ("test", "unused")}
    assert not tested & trained
    roles = {}
    for image in images:
        roles.setdefault((image["class"], image["group"]), set()).add(image["role"])
    assert all(len(found) == 1 for found in roles.values())
    for class_ in "abc":
        labelled, unlabelled, _, test, unused = counts(made, class_)
        assert test
        assert unused == 0
        assert (labelled if class_ in "ab" else unlabelled) > 0
        assert class_ in "ab" or labelled == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 60))
def test_filling_stops_where_no_further_group_helps(sizes, target):
    sizes = np.array(sizes)
    taken = group_sampling.pick_groups(sizes, target)
    missing = target - int(sizes[taken].sum())
    for size in sizes[~taken].tolist():
        assert abs(missing - size) >= abs(missing)


def test_groups_of_many_classes_meet_the_quotas():
    """1000 identities in 12 classes: within 3 % although no class has groups of its own."""
    generator = np.random.default_rng(0)
    classes, groups = generator.integers(0, 12, 40000), generator.integers(0, 1000, 40000)
    keys, sizes = np.unique(classes * 1000 + groups, return_counts=True)
    cells = group_sampling.Cells(*np.divmod(keys, 1000), sizes)
    drawn = group_sampling.sample_groups(cells, 1000, 0.2, list(range(12)))
    for class_ in range(12):
        mine = cells.classes == class_
        share = sizes[mine & drawn[cells.groups]].sum() / sizes[mine].sum()
        assert share == pytest.approx(0.2, rel=0.03)


def test_a_class_on_one_side_gets_its_smallest_group_on_the_other():
    cells = group_sampling.Cells(
        np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3]), np.array([50, 40, 9, 1])
    )
    drawn = group_sampling.sample_groups(cells, 4, 0.2, ["a", "b"])
    assert drawn.tolist() == [False, True, False, True]


def test_a_novel_class_of_one_group_is_noted(tmp_path):
    rows = singles(real=20) + [("b", "video", None)] * 5
    manifest = write_manifest(tmp_path / "images.parquet", rows)
    made = split(manifest, tmp_path / "split", options=SplitOptions(known=("real",)))
    assert made.notes == ("novel class 'b' has too few groups to be tested on",)
    assert counts(made, "b") == [0, 5, 0, 0, 0]
    assert Split.read(tmp_path / "split").notes == made.notes
