"""G. What the records know is told: how much of the test is covered, and more in test_shortcuts."""

from command_line import done
from owdfa.records.split import Split


def test_scores_of_a_part_of_the_test_say_so(whole_run, tmp_path):
    split = Split.read(whole_run / "split")
    ids = split.with_role("test")["id"].to_pylist()
    photos = whole_run.parent / "photos"
    output = tmp_path / "p.parquet"
    folder = tmp_path / "part"
    for id_ in ids[:2]:
        (folder / id_).parent.mkdir(parents=True, exist_ok=True)
        (folder / id_).write_bytes((photos / id_).read_bytes())
    done("predict", whole_run, folder, "-o", output)
    told = done("score", output, "--split", whole_run / "split")
    assert f"{len(ids) - 2} of {len(ids)} test images have no prediction" in told
