"""D. A folder that was moved or copied still works, as a whole and in parts."""

import shutil

from command_line import done, refused


def test_a_run_with_all_that_it_rests_on_is_moved(whole_run, tmp_path):
    moved = shutil.copytree(whole_run, tmp_path / "elsewhere" / "moved")
    shutil.move(whole_run, whole_run.with_name("gone"))
    try:
        output = tmp_path / "p.parquet"
        done("predict", moved, "split:test", "-o", output)
        done("score", output, "--split", moved / "split")
        done("report", moved, "-o", tmp_path / "page.html")
        done("predict", moved, "split:test", "--split", moved / "split", "-o", output)
    finally:
        shutil.move(whole_run.with_name("gone"), whole_run)


def test_a_split_and_a_store_that_were_moved_are_named(whole_run, tmp_path):
    run = shutil.copytree(whole_run, tmp_path / "run")
    split = shutil.move(run / "split", tmp_path / "a-split")
    store = shutil.move(run / "store", tmp_path / "a-store")
    hidden = whole_run.with_name("hidden")
    shutil.move(whole_run, hidden)
    try:
        output = tmp_path / "p.parquet"
        assert "--split" in refused("predict", run, "split:test", "-o", output)
        named = ("--split", split, "--store", store)
        done("predict", run, "split:test", *named, "-o", output)
        done("report", run, *named, "-o", tmp_path / "page.html")
    finally:
        shutil.move(hidden, whole_run)
