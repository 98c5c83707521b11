"""J. Mistakes in settings and options end in a short message that names the remedy."""

import pytest

from command_line import cli, refused


def test_settings_that_are_refused(data, tmp_path, settings):
    train = ["train", "--split", data.split, "-o", tmp_path / "run", *settings]
    assert "did you mean 'lr'" in refused(*train, "--set", "optimiser.lrr=1")
    assert "epochs" in refused(*train, "--set", "epochs=many")
    assert "--set epochs: write it as name=value" in refused(*train, "--set", "epochs")
    assert "no method named 'cla'; did you mean 'cal'?" in refused(*train, "--method", "cla")
    assert "no.toml" in refused(*train, "--config", tmp_path / "no.toml")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "args", [("train",), ("split", "x"), ("data", "scan", "x"), ("score", "x"), ("nothing",)]
)
def test_usage_mistakes_are_short(args):
    ended = cli(*args)
    assert ended.status == 2
    assert len(ended.stderr.splitlines()) <= 5
    assert "--help" in ended.stderr
