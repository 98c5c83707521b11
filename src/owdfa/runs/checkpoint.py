"""Checkpoints: folders that appear whole or not at all, and that load without pickle.

    checkpoints/<name>/weights.safetensors   parameters and buffers of the method
    checkpoints/<name>/state.pt              what else a resumed run needs (``weights_only=True``)
    checkpoints/<name>/checkpoint.json       the epoch, and the SHA-256 of both

A folder cannot be renamed over another. A new checkpoint is therefore written as ``<name>.part``
and renamed to ``<name>.next`` once it is whole, from when on it is the one that counts; then the
old one makes room. Killed at any moment, ``current`` finds a whole one.

What a checkpoint is can be read without torch, which is imported where tensors are.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from owdfa.errors import UserError
from owdfa.files import read_json, write_json, writing_error
from owdfa.records.types_found import TypesFound
from owdfa.runs.metadata import RunMetadata

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, _STATE, _NOTE = "weights.safetensors", "state.pt", "checkpoint.json"


class Note(NamedTuple):
    """What a checkpoint is.

    Attributes:
        epochs: How many epochs it was trained for.
        num_active: How many classes live in it.
        score: What the selection rule measured of it; None where nothing is measured.
        fitted: Whether the method was fitted to the whole training set (``Method.finish``).
        types_found: What that found, as plain values; None where the method says nothing.
        weights: SHA-256 of the weights file; filled by ``write``.
        state: SHA-256 of the state file; None without one; filled by ``write``.
    """

    epochs: int
    num_active: int
    score: float | None = None
    fitted: bool = False
    weights: str = ""
    state: str | None = None
    types_found: dict[str, Any] | None = None

    @property
    def found(self) -> TypesFound | None:
        """``types_found`` as a record."""
        found = self.types_found
        return None if found is None else TypesFound.model_validate(found)


def write(
    folder: Path,
    note: Note,
    weights: "Mapping[str, Tensor]",
    state: Mapping[str, Any] | None = None,
) -> None:
    """Put a checkpoint in place of the one at ``folder``.

    Args:
        folder: Where it shall stand.
        note: What it is.
        weights: The method's ``state_dict()``.
        state: Tensors and plain numbers, nested in dicts and lists; None when nobody resumes it.

    Raises:
        UserError: The disk is full, or the folder cannot be written.
    """
    import torch
    from safetensors.torch import save

    part, following = _beside(folder, "part"), _beside(folder, "next")
    try:
        settle(folder)
        part.mkdir(parents=True)
        # Copies, one element after the other: safetensors refuses tied weights, and other orders.
        plain = torch.contiguous_format
        whole = {name: t.detach().cpu().clone(memory_format=plain) for name, t in weights.items()}
        note = note._replace(weights=_write_bytes(part / WEIGHTS, save(whole)))
        if state is not None:
            stream = io.BytesIO()
            torch.save(dict(state), stream)
            note = note._replace(state=_write_bytes(part / _STATE, stream.getvalue()))
        write_json(part / _NOTE, note._asdict())
        part.rename(following)
        settle(folder)
    except OSError as error:
        raise writing_error(folder, error) from error


def selected(run: Path, metadata: RunMetadata) -> Path:
    """Folder of the checkpoint of ``run`` that predicts."""
    return run / "checkpoints" / metadata.provenance.selection


def current(folder: Path) -> Path | None:
    """Where the whole checkpoint called ``folder`` stands; None when there is none."""
    standing = (_beside(folder, "next"), folder)
    return next((place for place in standing if (place / _NOTE).is_file()), None)


def settle(folder: Path) -> None:
    """Finish a swap that was cut short, and remove what it left; for the writer alone."""
    following, old = _beside(folder, "next"), _beside(folder, "old")
    if following.is_dir():
        if folder.is_dir() and any(folder.iterdir()) and not (folder / _NOTE).is_file():
            raise UserError(f"{folder}: is not a checkpoint of this run; choose another -o")
        if folder.is_dir():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        following.rename(folder)
    for leftover in (old, _beside(folder, "part")):
        shutil.rmtree(leftover, ignore_errors=True)


def read_note(folder: Path) -> Note:
    """Read what the checkpoint ``folder`` is.

    Raises:
        UserError: There is none, or it is damaged.
    """
    note = read_json(_locate(folder) / _NOTE, what="a checkpoint")
    try:
        return Note(**note)
    except TypeError:
        raise UserError(f"{folder / _NOTE}: is damaged; train again") from None


def read_weights(folder: Path) -> "dict[str, Tensor]":
    """Read the weights of the checkpoint ``folder``.

    Raises:
        UserError: There are none, or they are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _read_bytes(_locate(folder) / WEIGHTS, read_note(folder).weights)
    try:
        weights: dict[str, Tensor] = load(content)
    except SafetensorError as error:
        raise UserError(f"{folder / WEIGHTS}: is not a weights file ({error})") from None
    return weights


def read_state(folder: Path) -> dict[str, Any]:
    """Read what else the checkpoint ``folder`` keeps for a resumed run.

    Raises:
        UserError: It keeps nothing, or is damaged.
    """
    import torch

    digest = read_note(folder).state
    if digest is None:
        raise UserError(f"{folder}: keeps no state to resume from; train a new run")
    content = _read_bytes(_locate(folder) / _STATE, digest)
    state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    return state


def _locate(folder: Path) -> Path:
    place = current(folder)
    if place is None:
        raise UserError(f"{folder}: no checkpoint is here; train first, or resume the run")
    return place


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(f"{folder.name}.{suffix}")


def _write_bytes(path: Path, content: bytes) -> str:
    """Write and sync ``content``; return its SHA-256."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return hashlib.sha256(content).hexdigest()


def _read_bytes(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); train again") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise UserError(f"{path}: is damaged (its SHA-256 is not the recorded one); train again")
    return content
