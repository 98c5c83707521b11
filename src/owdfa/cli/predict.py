"""``owdfa predict``: on this machine into a file, or on a Ray cluster into a folder of files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owdfa.cli.data import MaxBad
from owdfa.cli.progress import print_note, progress_bar
from owdfa.cli.stages import MovedSplit, Output, Ray, Store, named_images

if TYPE_CHECKING:
    import pyarrow as pa


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, or what owdfa export made of one.")],
    images: Annotated[
        list[str], typer.Argument(help="A folder, files, a Parquet list of them, or split:test.")
    ],
    output: Output,
    split: MovedSplit = None,
    store: Store = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or auto; the default is the run's.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="32-true or bf16-mixed; the default is the run's.")
    ] = None,
    max_bad: MaxBad = 0.01,
    ray: Ray = None,
    shard: Annotated[
        int, typer.Option(help="With --ray: images in each file of the folder -o.")
    ] = 10_000,
    workers: Annotated[
        int, typer.Option(help="With --ray: workers at most; 0 for as many as there are devices.")
    ] = 0,
    cpus: Annotated[int, typer.Option(help="With --ray: cores of a worker without a GPU.")] = 1,
) -> None:
    """Predict the type of each image, with a confidence; with --ray, on a cluster."""
    from owdfa.config import parse_settings
    from owdfa.records.predictions import count_types

    if ray is None:
        from owdfa.stages.predict import predict as stage

        with progress_bar("predict") as report:
            made = stage(
                run, named_images(images), output, split=split, store=store,
                device=device, precision=precision, max_bad=max_bad, on_progress=report,
            )  # fmt: skip
        _print_predicted(output, count_types([made.table]), made.notes)
        return
    from owdfa.stages.predict.shards import ClusterOptions, predict_on_cluster

    given = {"ray": ray, "shard": shard, "workers": workers, "cpus": cpus}
    cluster = parse_settings(ClusterOptions, given, "predict")
    with progress_bar("predict") as report:
        found = predict_on_cluster(
            run, named_images(images), output, cluster,
            device=device, precision=precision, max_bad=max_bad, on_progress=report,
        )  # fmt: skip
    _print_predicted(output, found.types, found.notes, found.listing)


def _print_predicted(
    output: Path, types: "pa.Table", notes: Sequence[str], listing: Path | None = None
) -> None:
    """Print what was predicted; ``types`` are of ``count_types``."""
    from owdfa.cli.tables import print_bad, print_types

    images = types["images"].to_pylist()
    novel = sum(
        num for num, is_novel in zip(images, types["novel"].to_pylist(), strict=True) if is_novel
    )
    typer.echo(f"{output}: {sum(images)} images, {novel} given to novel types")
    for note in notes:
        print_note(note)
    print_types(types)
    print_bad(output, listing)
