"""The split and the crops that a run rests on: where they are now, and whether they are its own."""

from pathlib import Path

from owdfa.errors import UserError
from owdfa.files import read_json
from owdfa.images.store import Store
from owdfa.records.manifest import Manifest
from owdfa.records.split import ROLES, Split
from owdfa.runs.metadata import RunMetadata


def find_split(run: Path, metadata: RunMetadata, given: Path | None) -> Path:
    """Find the split of a run: as given, where it was, or in the run folder or beside it.

    Args:
        run: The run folder.
        metadata: Its run.json.
        given: What the user names; None to look for it. Whether that is the run's is not checked.

    Raises:
        UserError: It is nowhere.
    """
    if given is not None:
        return given
    if metadata.split is None:
        raise UserError(f"{run}: does not say where its split is; name one with --split")
    recorded = run / metadata.split
    for place in (recorded, run / "split", run.parent / "split"):
        if _digest_of(place) == metadata.provenance.split_digest:
            return place
    if _digest_of(recorded) is not None:
        return recorded  # another by now: whoever reads it says so
    raise UserError(f"{run}: its split is no longer at {recorded}; name it with --split")


def find_store(run: Path, metadata: RunMetadata, split: Path, given: Path | None) -> Path | None:
    """Find the crops of a run, likewise; None where only the manifest of ``split`` may know.

    Args:
        run: The run folder.
        metadata: Its run.json.
        split: Folder of the split.
        given: What the user names; None to look for it.
    """
    if given is not None:
        return given
    places = [run / "store", run.parent / "store", split.parent / "store"]
    if metadata.store is not None:
        places.insert(0, run / metadata.store)
    return next((place for place in places if _is_alike(place, metadata)), None)


def open_store(folder: Path, split: Split, store: Path | None) -> Store:
    """Open the crops of the images of a split.

    Args:
        folder: Of the split.
        split: Its content.
        store: Folder of the crops; None for the one that the split's manifest names.

    Raises:
        UserError: There are none, or they are of other images.
    """
    basis = split.basis
    if store is None:
        manifest = Manifest.read(Path(basis.manifest), ("id",))
        if manifest.store is None:
            raise UserError(
                f"{basis.manifest}: its images are not prepared;"
                f" run owdfa data prepare {basis.manifest} -o store, then split again"
            )
        store = manifest.store
    crops = Store.open(store)
    images = Split.read(folder, ("id", "role", "sha256")).with_role(*ROLES[:-1])  # those in use
    if reason := crops.lacks(images):
        raise UserError(
            f"{folder}: was not made from the images in the store {store} ({reason});"
            " prepare and split the manifest again, or give the store that belongs to it"
        )
    return crops


def _digest_of(split: Path) -> str | None:
    """The digest that a split notes of itself; None where there is none."""
    try:
        note = read_json(split / "split.json", what="a split")
    except UserError:
        return None
    return str(note.get("digest")) if isinstance(note, dict) else None


def _is_alike(place: Path, metadata: RunMetadata) -> bool:
    """Whether crops that were made as the run's are at ``place``."""
    try:
        store = Store.open(place)
    except UserError:
        return False
    made = store.basis
    return (made.size, made.faces, made.fit) == (metadata.store_size, metadata.faces, metadata.fit)
