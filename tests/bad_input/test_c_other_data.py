"""C. What lies in a folder is compared with what is asked for."""

from command_line import done, make_noise, refused
from owdfa.records.manifest import Manifest
from tiny_data import make_data


def test_a_split_of_other_images_is_refused(data, run, tmp_path, settings):
    other = make_data(tmp_path / "other", per_class=13)
    table = Manifest.read(data.manifest)
    table.write(other.manifest)  # now it names the store of the first
    line = refused("train", "--split", other.split, "-o", tmp_path / "run", *settings)
    assert "split the manifest again" in line
    assert not (tmp_path / "run").exists()
    done("predict", run, "split:test", "-o", tmp_path / "p.parquet")
    output = tmp_path / "scores.json"
    line = refused("score", tmp_path / "p.parquet", "--split", other.split, "-o", output)
    assert "give --split the split of the run" in line
    assert not output.exists()


def test_runs_that_are_refused(run, data, tmp_path, settings):
    output = tmp_path / "p.parquet"
    assert "run.json: no such file" in refused("predict", tmp_path, "split:test", "-o", output)
    assert "run.json: no such file" in refused("report", tmp_path, "-o", tmp_path / "r.html")
    broken = tmp_path / "broken"
    done("train", "--split", data.split, "-o", broken, *settings)
    written = broken / "settings.toml"
    written.write_text(written.read_text().replace('classes = "auto"', "classes = 9"))
    line = refused("predict", broken, "split:test", "-o", output)
    assert "another network or number of classes" in line
    for file in (broken / "checkpoints" / "last").iterdir():
        file.unlink()
    line = refused("predict", broken, "split:test", "-o", output)
    assert "no checkpoint is here" in line
    assert "add --resume" in refused("train", "--split", data.split, "-o", run, *settings)
    assert not output.exists()


def test_a_resumed_run_of_other_images_is_refused(whole_run, run_options, tmp_path):
    other = make_noise(tmp_path / "other", seed=1)
    line = refused("run", f"folder:{other}", "-o", whole_run, "--resume", *run_options)
    assert "holds a run on folder:" in line
    assert "choose another -o" in line
    line = refused("run", f"folder:{tmp_path / 'nowhere'}", "-o", whole_run, "--resume")
    assert "choose another -o" in line


def test_a_run_is_not_resumed_when_its_images_changed(run_options, tmp_path):
    photos, output = make_noise(tmp_path / "photos"), tmp_path / "run"
    done("run", f"folder:{photos}", "-o", output, *run_options)
    done("run", f"folder:{photos}", "-o", output, "--resume", *run_options)  # nothing changed
    make_noise(photos, ("d",))
    line = refused("run", f"folder:{photos}", "-o", output, "--resume", *run_options)
    assert "12 images are new or altered and 0 are gone" in line


def test_the_remedy_that_a_failed_run_names_works(run_options, tmp_path):
    photos, output = make_noise(tmp_path / "photos", count=1), tmp_path / "run"
    line = refused("run", f"folder:{photos}", "-o", output, *run_options)
    assert "add images" in line
    make_noise(photos, count=12)
    done("run", f"folder:{photos}", "-o", output, "--resume", *run_options)
    assert Manifest.read(output / "images.parquet").table.num_rows == 36
