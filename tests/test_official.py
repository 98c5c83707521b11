import pytest
import torch

from official_release import BACKBONE, cal, release
from owdfa.errors import UserError
from owdfa.methods.cal import CALSettings
from owdfa.runs.official import import_checkpoint, read_official
from small_networks import batch


@pytest.fixture
def protocol(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('[p1]\nknown = ["real", "a"]\nnovel = ["b", "c", "d"]\n')
    return f"{path}/p1"


def imported(path, tmp_path, protocol, backbone=BACKBONE, method="cal"):
    options = {"method": method, "protocol": protocol, "backbone": backbone, "size": 32}
    return import_checkpoint(path, tmp_path / "run", **options)


@pytest.mark.parametrize(("num_classes", "num_active"), [(5, 5), (None, 20), (None, 7)])
def test_an_imported_checkpoint_predicts_as_it_did(tmp_path, protocol, num_classes, num_active):
    theirs = cal(num_classes)
    theirs.prototypes.replace(theirs.prototypes.vectors[:num_active].clone())
    run = imported(release(theirs, tmp_path / "c.ckpt"), tmp_path, protocol)
    assert run.known == ("real", "a")
    assert run.metadata.provenance.selection == "oracle"
    assert run.num_active == num_active
    ours, images = run.method(), batch([0, 1, -1]).views[0]
    with torch.no_grad():
        assert torch.equal(ours(images).logits, theirs(images).logits)


def test_checkpoint_of_another_protocol(tmp_path, protocol):
    path = release(cal(6), tmp_path / "c.ckpt")
    with pytest.raises(UserError, match=r"c\.ckpt: has 6 classes.*asks for 5 or 20"):
        imported(path, tmp_path, protocol)
    assert not (tmp_path / "run").exists()


def test_checkpoint_with_fewer_live_prototypes_than_known_classes(tmp_path, protocol):
    pruned = cal(None)
    pruned.prototypes.replace(torch.ones(1, 256))
    with pytest.raises(UserError, match="20 classes, 1 of them active"):
        imported(release(pruned, tmp_path / "c.ckpt"), tmp_path, protocol)


def test_checkpoint_of_another_backbone(tmp_path, protocol):
    path = release(cal(5), tmp_path / "c.ckpt")
    with pytest.raises(UserError, match=r"c\.ckpt: belongs to another network"):
        imported(path, tmp_path, protocol, backbone="tiny/trace14w16")


def test_a_method_without_released_checkpoints_imports_none(tmp_path, protocol):
    path = release(cal(5), tmp_path / "c.ckpt")
    with pytest.raises(UserError, match="no checkpoint of supervised as its authors release them"):
        imported(path, tmp_path, protocol, method="supervised")


def test_a_protocol_of_patterns_does_not_name_the_classes(tmp_path):
    (tmp_path / "own.toml").write_text('[p1]\nknown = ["real", "a"]\nnovel = ["*"]\n')
    path = release(cal(5), tmp_path / "c.ckpt")
    with pytest.raises(UserError, match="by pattern"):
        imported(path, tmp_path, str(tmp_path / "own.toml"))


def test_a_checkpoint_that_needs_unpickling_is_refused(tmp_path):
    path = release(cal(5), tmp_path / "c.ckpt", hyper_parameters=CALSettings())
    with pytest.raises(UserError, match="could run any program"):
        read_official(path, "cal")


@pytest.mark.parametrize("method", ["cal", "cpl", "mpsl"])
@pytest.mark.parametrize("prototypes", [{}, {"encoder.fc2": torch.zeros(5, 4)}])
def test_a_checkpoint_of_something_else_is_refused(tmp_path, prototypes, method):
    torch.save({"encoder.encoder.conv1.weight": torch.ones(2), **prototypes}, tmp_path / "c.ckpt")
    with pytest.raises(UserError, match=rf"c.ckpt: is no checkpoint of {method} as its"):
        read_official(tmp_path / "c.ckpt", method)
