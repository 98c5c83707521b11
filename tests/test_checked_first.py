"""What a method cannot do is said before anything is trained, also where stages come first."""

import pytest

from owdfa.errors import UserError
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train
from tiny_data import TINY, make_data

STAGE = """
[[stages]]
name = "warm-start"
method = { name = "supervised" }
"""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["method.name=cpl"], r"method cpl: needs the number of classes.*--classes"),
        (["method.name=cpl", "classes=1"], r"1 classes are fewer than the 2 known ones"),
        (["method.name=mpsl", "classes=4"], r"2 x 2 has no 3 x 3 cells; set fewer, or larger"),
    ],
)
def test_it_is_said_before_the_stages(tmp_path, settings, message):
    data, config = make_data(tmp_path), tmp_path / "stages.toml"
    config.write_text(STAGE)
    chosen = [each for each in TINY if not each.startswith("stages")]
    loaded = load_settings(None, config, [*chosen, *settings])
    with pytest.raises(UserError, match=message):
        train(data.split, tmp_path / "run", settings=loaded)
    assert not (tmp_path / "run" / "run.json").exists()
    assert not (tmp_path / "run" / "stages").exists()
