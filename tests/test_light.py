"""The base install: what needs no network runs where torch and its company are not installed.

The environment variable OWDFA_LIGHT_PYTHON may name the Python of such an installation (``make
light`` makes one); otherwise a folder of modules that cannot be imported stands in for it.
"""

import os
import shutil
import subprocess
import sys

import pytest

EXTRA = (
    *("huggingface_hub", "onnx", "onnxscript", "safetensors", "tensorboard"),
    *("timm", "torch", "torchvision"),
)


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """Run ``owdfa ARGS`` without the extra; give its status and what it said."""
    environment = dict(os.environ)
    python = environment.get("OWDFA_LIGHT_PYTHON")
    if python is None:
        blocked = tmp_path_factory.mktemp("blocked")
        for name in EXTRA:
            text = f"raise ModuleNotFoundError('no module', name={name!r})\n"
            (blocked / f"{name}.py").write_text(text)
        inherited = environment.get("PYTHONPATH", "")
        environment["PYTHONPATH"] = f"{blocked}{os.pathsep}{inherited}"
    else:
        environment.pop("PYTHONPATH", None)

    def run(*arguments):
        command = [python or sys.executable, "-m", "owdfa", *map(str, arguments)]
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, cwd=os.sep, check=False
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended.returncode, ended.stdout + ended.stderr

    return run


def test_an_analyst_with_a_finished_model_needs_no_torch(light, whole_run, tmp_path):
    photos, model = whole_run.parent / "photos", tmp_path / "model.onnx"
    shutil.copy(whole_run / "model.onnx", model)
    manifest, split = tmp_path / "images.parquet", tmp_path / "split"
    predicted, scores = tmp_path / "p.parquet", tmp_path / "scores.json"
    for arguments in (
        ("data", "scan", f"folder:{photos}", "-o", manifest),
        ("data", "prepare", manifest, "--faces", "dlib", "--size", 16, "-o", tmp_path / "store"),
        ("split", manifest, "--known", "a,b", "--labelled", "0.7", "-o", split),
        ("predict", model, photos, "-o", tmp_path / "files.parquet"),
        ("predict", model, "split:test", "--split", split, "-o", predicted),
        ("score", predicted, "--split", split, "-o", scores),
        ("data", "audit", split, "--run", model, "-o", tmp_path / "audit.html"),
        ("stress", model, "--split", split, "--quick", "-o", tmp_path / "stress"),
        ("predict", whole_run, photos, "-o", tmp_path / "run.parquet"),
        ("report", whole_run, "-o", tmp_path / "page.html"),
        *((name,) for name in ("datasets", "protocols", "recipes", "--help")),
    ):
        status, told = light(*arguments)
        assert status == 0, told
    assert scores.exists()
    assert "<html" in (tmp_path / "page.html").read_text()


def test_what_needs_the_extra_says_so_in_one_line(light, whole_run, tmp_path):
    for arguments in (
        ("train", "--split", whole_run / "split", "-o", tmp_path / "run"),
        ("export", whole_run, "-o", tmp_path / "model.onnx"),
        ("run", f"folder:{whole_run.parent / 'photos'}", "-o", tmp_path / "run"),
        ("settings",),
        ("methods",),
        ("backbones",),
    ):
        status, told = light(*arguments)
        assert status == 2, (arguments, told)
        assert "pip install 'owdfa[train]'" in told.splitlines()[-1]
