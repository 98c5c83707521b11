"""Protocols of one's own: dates, long tails, sources; every number is counted by hand."""

import re
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from owdfa.config import parse_settings
from owdfa.datasets.lab.settings import LabSettings, class_names
from owdfa.errors import UserError
from owdfa.protocols import Budget, Classes
from owdfa.stages.split import SplitOptions, split
from owdfa.stages.split.roles import Plan, class_caps
from small_manifest import counts, singles, write_manifest

BASE = '[p1]\nknown = ["real"]\nnovel = ["*"]\n'


@pytest.fixture
def run(tmp_path):
    """Split a manifest of some rows by the text of a protocol."""

    def run_(rows, text, **options):
        manifest = write_manifest(tmp_path / "images.parquet", rows)
        (tmp_path / "my.toml").write_text(text)
        chosen = {"protocol": f"{tmp_path}/my.toml/p1", **options}
        return split(manifest, tmp_path / "split", options=parse_settings(SplitOptions, chosen, ""))

    return run_


def of_sources(**sizes):
    """So many images, each a group of its own: ``a__ff=10`` for class a of source ff."""
    rows = []
    for name, size in sizes.items():
        class_, source = name.split("__")
        rows += [(class_, f"{class_}-{source}-{i}", source or None) for i in range(size)]
    return rows


def roles_of(made, rows, source):
    """Images of each class and role that are of a source: {class: {role: number}}."""
    table, found = made.table, {}
    sources = {group: where for _, group, where in rows}
    for row in table.to_pylist():
        if sources[row["group"]] == source:
            roles = found.setdefault(row["class"], {})
            roles[row["role"]] = roles.get(row["role"], 0) + 1
    return found


def of_role(made, rows, role):
    """Sources of the images of a role; the number in an id is that of its row."""
    ids = made.with_role(role)["id"].to_pylist()
    return {rows[int(id_[-10:-4])][2] for id_ in ids}


def used(made, class_):
    return sum(counts(made, class_)[:4])


def test_classes_published_until_a_day_are_known(run):
    text = BASE + "known_until = 2021-06-30\n[published]\na = 2019-01-01\nb = 2021-06-30\n"
    made = run(singles(real=20, a=20, b=20, c=20), text + "c = 2021-07-01\nz = 1999-01-01\n")
    assert made.known == ("real", "a", "b")
    assert made.novel == ("c",)


def test_known_classes_can_come_from_dates_alone(run):
    text = '[p1]\nnovel = ["*"]\nknown_until = 2020-01-01\n[p1.published]\n'
    made = run(singles(a=20, b=20), text + "a = 2019-01-01\nb = 2021-01-01\n")
    assert (made.known, made.novel) == (("a",), ("b",))


def test_sizes_of_a_long_tail():
    plan = Plan(Classes(("real", "k"), ("a", "b", "c")), Budget(imbalance=0.01), 0.5, 0.2, 0.0, 7)
    real, known, *novel = class_caps(plan, [5000, 900, 1000, 1000, 1000], {"real"})
    assert (real, known, sorted(novel)) == (5000, 900, [10, 100, 1000])
    real, *rest = class_caps(
        plan._replace(budget=Budget(imbalance=0.001, imbalance_of="all")),
        [5000, 1000, 1000, 1000, 1000],
        {"real"},
    )
    assert (real, sorted(rest)) == (5000, [1, 10, 100, 1000])
    most = class_caps(
        plan._replace(budget=Budget(imbalance=0.25, imbalance_of="known")), [40, 40, 9, 9, 9], set()
    )
    assert (sorted(most[:2]), most[2:]) == ([10, 40], [9, 9, 9])


def test_the_largest_class_stays_the_largest_and_small_ones_keep_what_they_have():
    plan = Plan(Classes(("k",), ("a", "b", "c")), Budget(imbalance=0.01), 0.5, 0.2, 0.0, 0)
    for seed in range(5):
        _, a, b, c = class_caps(plan._replace(seed=seed), [9, 50, 1000, 60], set())
        assert (b, a, c) in [(1000, 50, 10), (1000, 10, 60)]


def test_the_seed_decides_which_classes_are_rare():
    plan = Plan(Classes(("k",), tuple("abcdef")), Budget(imbalance=0.1), 0.5, 0.2, 0.0, 0)
    orders = {tuple(class_caps(plan._replace(seed=s), [9] + [90] * 6, set())) for s in range(4)}
    assert len(orders) > 1


def test_a_long_tail_of_images(run):
    made = run(singles(real=40, a=40, b=40, c=40), BASE + "[budget]\nimbalance = 0.25\n")
    assert sorted(used(made, name) for name in "abc") == [10, 20, 40]
    assert used(made, "real") == 40
    assert any(note.startswith("images used of each class: real 40") for note in made.notes)


def test_a_novel_type_of_twenty_images(run):
    text = BASE + '[budget]\nnovel = 30\n[budget.limits]\nb = 20\n"c*" = 5\nreal = 99\n'
    made = run(singles(real=40, a=40, b=40, c1=40), text)
    assert [used(made, name) for name in ("real", "a", "b", "c1")] == [40, 30, 20, 5]
    assert counts(made, "b") == [0, 16, 0, 4, 20]


def test_labelled_on_one_content_and_unlabelled_on_another(run):
    rows = of_sources(real__ff=20, a__ff=20, b__ff=20, real__cq=20, a__cq=20, b__cq=20, a__x=5)
    rows.append((None, "nobody-ff", "ff"))
    rows.append((None, "nobody-cq", "cq"))
    text = BASE.replace('"real"', '"real", "a"')
    text += '[sources]\nlabelled = ["ff"]\nunlabelled = ["c*"]\ntest = ["cq"]\n'
    made = run(rows, text)
    assert roles_of(made, rows, "ff") == {
        "real": {"labelled": 20},
        "a": {"labelled": 20},
        "b": {"unused": 20},
        None: {"unused": 1},
    }
    assert roles_of(made, rows, "cq") == {
        "real": {"unlabelled": 16, "test": 4},
        "a": {"unlabelled": 16, "test": 4},
        "b": {"unlabelled": 16, "test": 4},
        None: {"unlabelled": 1},
    }
    assert roles_of(made, rows, "x") == {"a": {"unused": 5}}
    said = "labelled images are of ff; unlabelled images are of cq; test images are of cq"
    assert said in made.notes


def test_a_source_that_is_left_out_is_never_labelled_and_alone_tested(run):
    rows = of_sources(real__ff=20, a__ff=20, real__yt=20, real__cd=20, a__cd=20)
    made = run(rows, BASE + '[sources]\nleave_out = ["cd"]\n')
    assert roles_of(made, rows, "cd") == {
        "real": {"unlabelled": 16, "test": 4},
        "a": {"unlabelled": 16, "test": 4},
    }
    mine, theirs = roles_of(made, rows, "ff"), roles_of(made, rows, "yt")
    assert mine["a"] == {"unlabelled": 20}
    assert mine["real"]["labelled"] + theirs["real"]["labelled"] == 30
    assert mine["real"]["unlabelled"] + theirs["real"]["unlabelled"] == 10


def test_a_source_that_is_only_tested_is_tested_whole(run):
    rows = of_sources(real__ff=20, a__ff=20, real__cd=7, a__cd=9, a__=3)
    text = '[sources]\nlabelled = ["ff"]\nunlabelled = ["ff"]\ntest = ["cd"]\n'
    made = run(rows, BASE + text)
    assert roles_of(made, rows, "cd") == {"real": {"test": 7}, "a": {"test": 9}}
    assert roles_of(made, rows, "ff")["real"] == {"labelled": 15, "unlabelled": 5}
    assert roles_of(made, rows, None) == {"a": {"unused": 3}}


def test_a_group_of_several_sources_is_not_cut_and_gives_no_hidden_label_away(run):
    """Ten photographs, each passed through two networks of each architecture."""
    rows = [
        (class_, f"photo-{i}", seed)
        for i in range(10)
        for class_ in ("real", "net-a", "net-b")
        for seed in ("0", "1")
    ]
    text = '[p1]\nknown = ["real", "net-a"]\nnovel = ["net-b"]\nlabelled = 0.5\n'
    text += '[sources]\nlabelled = ["0"]\nunlabelled = ["1"]\ntest = ["1"]\n'
    made = run(rows, text)
    assert counts(made, "net-a") == [4, 4, 0, 2, 10]
    assert counts(made, "net-b") == [0, 8, 0, 2, 10]
    for class_ in ("real", "net-a", "net-b"):
        mine = made.table.filter(pc.equal(made.table["class"], class_)).to_pylist()
        by_group = {}
        for row in mine:
            by_group.setdefault(row["group"], set()).add(row["role"])
        assert all(len(roles - {"unused"}) == 1 for roles in by_group.values())
    tested = set(made.with_role("test")["group"].to_pylist())
    trained = set(made.with_role("labelled", "unlabelled")["group"].to_pylist())
    assert len(tested) == 2
    assert not tested & trained


def test_protocols_that_differ_in_what_is_tested_train_on_the_same_images(tmp_path):
    """Each group has more images of one seed than of the other, by turns."""
    rows = [
        (class_, f"photo-{i}", seed)
        for i in range(30)
        for class_ in ("real", "net-a", "net-b")
        for seed in ("0", "0", "0", "1") * (1 + i % 3) + ("1",) * (4 * (i % 2))
    ]
    manifest = write_manifest(tmp_path / "images.parquet", rows)
    trained = []
    for seed in "01":
        text = '[p1]\nknown = ["*"]\nnovel = []\n[sources]\nlabelled = ["0"]\n'
        (tmp_path / f"{seed}.toml").write_text(f'{text}test = ["{seed}"]\n')
        options = SplitOptions(protocol=f"{tmp_path}/{seed}.toml")
        made = split(manifest, tmp_path / seed, options=options)
        assert of_role(made, rows, "test") == {seed}
        assert of_role(made, rows, "labelled") == {"0"}
        assert of_role(made, rows, "unlabelled") == {"0", "1"}
        trained.append(made.with_role("labelled", "unlabelled"))
    assert trained[0] == trained[1]


def test_images_of_unusable_sources_use_up_no_budget(run):
    rows = of_sources(real__ff=20, a__ff=20, real__cd=20, a__cd=20)
    text = BASE + '[budget]\nnovel = 10\n[sources]\nunlabelled = ["cd"]\ntest = ["cd"]\n'
    made = run(rows, text)
    assert roles_of(made, rows, "cd")["a"] == {"unlabelled": 8, "test": 2, "unused": 10}


def test_validation_images_are_of_labelled_sources(run):
    rows = of_sources(real__ff=20, a__ff=20, real__cd=20, a__cd=20)
    text = BASE + '[sources]\nlabelled = ["ff"]\nunlabelled = ["cd"]\ntest = ["cd"]\n'
    made = run(rows, text, validation=0.25)
    assert roles_of(made, rows, "ff")["real"] == {"labelled": 15, "validation": 5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("known_until = 2021-01-01\n", r"class 'a' has no date; add a = YYYY-MM-DD to \[publ"),
        ("known_until = 'soon'\n", "known_until: .*got 'soon'"),
        ("[budget]\nimbalance = 1.5\n", r"budget.imbalance: .*less than or equal to 1 \(got 1.5"),
        ("[budget]\nimbalance_of = 'new'\n", "budget.imbalance_of: input should be 'novel', 'kn"),
        ("[budget.limits]\nb0 = 20\n", r"\[budget.limits\]: no class 'b0'; there are: a, real"),
        ("[budget.limits]\na = 0\n", "budget.limits.a: input should be greater than 0"),
        ("[sources]\nleave_out = ['fg']\n", "no source 'fg'; there are: cd, ff"),
        ("[sources]\nleave_out = ['*']\n", "leave_out leaves no source to label"),
        ("[sources]\nleave_out = ['ff']\ntest = ['cd']\n", "has leave_out and test; keep one"),
        ("[sources]\ntest = []\n", "sources.test: tuple should have at least 1 item"),
        ("[sources]\ntests = ['cd']\n", "no setting 'sources.tests'; did you mean 'test'"),
        ("[sources]\nlabelled = ['cd']\n", "'real' has too few images to be labelled in the sour"),
        ("[sources]\ntest = ['cd']\n", "'real' has too few images to be tested on in the sources"),
    ],
)
def test_errors_of_own_protocols(run, tmp_path, text, said):
    with pytest.raises(UserError, match=said) as caught:
        run(of_sources(real__ff=20, a__ff=20, a__cd=20), BASE + text)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "split").exists()


def test_sources_of_a_manifest_without_any(run):
    with pytest.raises(UserError, match="the manifest names no source, so 'ff' cannot be chosen"):
        run(singles(real=20, a=20), BASE + '[sources]\ntest = ["ff"]\n')


def test_a_protocol_without_known_classes(run):
    with pytest.raises(UserError, match=r"names no known class; write known = \[...\] or known_un"):
        run(singles(real=20), '[p1]\nnovel = ["*"]\n')


def test_a_split_by_sources_does_not_depend_on_the_order_of_files(tmp_path):
    rows = of_sources(real__ff=20, a__ff=20, real__cd=20, a__cd=20, b__cd=30)
    text = BASE + '[budget]\nimbalance = 0.3\n[sources]\nleave_out = ["cd"]\n'
    (tmp_path / "my.toml").write_text(text)
    options = SplitOptions(protocol=f"{tmp_path}/my.toml")
    digests = set()
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(rows))
        manifest = write_manifest(tmp_path / f"{seed}.parquet", rows, order)
        digests.add(split(manifest, tmp_path / f"s{seed}", options=options).digest())
    assert len(digests) == 1


def test_every_protocol_of_the_page_runs_on_the_classes_of_lab(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "protocols.md").read_text()
    (tmp_path / "my.toml").write_text("\n".join(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)))
    rows = [
        (class_, f"{i}", ("ffhq", "celebahq")[i % 2])
        for class_ in class_names(LabSettings())
        for i in range(20)
    ]
    manifest = write_manifest(tmp_path / "images.parquet", rows)
    made = {
        name: split(
            manifest,
            tmp_path / name,
            options=SplitOptions(protocol=f"{tmp_path}/my.toml/{name}"),
        )
        for name in ("families", "time", "tail", "content", "leave-out", "unseen")
    }
    assert made["time"].known == ("real", "swap-1", "swap-2", "generate-1", "generate-2")
    assert made["families"].known == ("real", "swap-1", "swap-2", "swap-3", "edit-1")
    assert made["tail"].known == ("real", "edit-1", "generate-1", "reenact-1", "swap-1")
    assert len({each.digest() for each in made.values()}) == 6
