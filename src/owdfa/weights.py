"""Weights that others made: read without running anything that their file may hold."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from zipfile import ZipFile, is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from owdfa.errors import UserError
from owdfa.signatures import identify_file

# Where trained models of this field keep their backbone.
_PREFIXES = ("encoder.encoder.", "backbone.network.", "module.", "model.")
_CLASSIFIER = "backbone.network.fc."  # of the backbone's pre-training
_SHOWN = 3  # tensors that do not fit, named in an error
_PARALLEL = "module."  # what DataParallel puts before every name
# Where a checkpoint keeps its network's state dict, the surest name first.
_STATES = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "module",
)
_TORCH = ("a checkpoint of torch", "a pickle")
_REMEDIES = {  # kinds of files that are handed over in place of weights
    "empty": "fetch it again",
    "cut off": "fetch it again",
    "a Git LFS pointer": "fetch the file itself with git lfs pull",
    "an HTML page": "it was fetched from the page of the file; fetch it from the link to the file",
    "XML": "it is a server's answer, perhaps; fetch the file again",
    "JSON": "it is a server's answer or a configuration; name the file of weights",
    "text": "name the file of weights",
    "a ZIP archive": "unpack it, and name the file of weights in it",
    "a tar archive": "unpack it, and name the file of weights in it",
    "a compressed file": "unpack it, and name the file of weights in it",
    "ONNX": "name the checkpoint that it was exported from; owdfa predict takes what owdfa export"
    " made",
    "HDF5": "save the weights with torch or as safetensors",
    "NumPy data": "save the weights with torch or as safetensors",
}
_CLASSIFIERS = ("classifier", "fc", "head", "last_linear")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or a state dict that torch saved, alone or in a checkpoint.

    In a checkpoint it is what ``_STATES`` names, as in one of Lightning or of a training script.

    Raises:
        UserError: The file is missing, damaged, without tensors, or can only be read by running
            code in it.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; a file of weights is needed here")
    kind = _kind(path)
    if kind in _REMEDIES:
        raise UserError(f"{path}: cannot be read as weights, since it is {kind}; {_REMEDIES[kind]}")
    if path.suffix == ".safetensors" or kind == "safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if kind not in _TORCH:
            raise UserError(
                f"{path}: cannot be read as weights ({kind}); name a file of weights"
            ) from None
        raise UserError(
            f"{path}: is damaged, or holds Python objects that could run any program and is"
            " therefore refused; save its state dict alone, best as safetensors"
        ) from error
    except Exception as error:  # a damaged file may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read as weights ({reason})") from error
    tensors = _state_in(content)
    if not tensors:
        raise UserError(f"{path}: holds no weights; {_found(content)}, a state dict is needed here")
    return tensors


def _kind(path: Path) -> str:
    """What a file is by its first bytes; a ZIP archive of torch's is told from others.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        kind = identify_file(path).name
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if kind == "a ZIP archive":
        if not is_zipfile(path):
            return "cut off"
        with ZipFile(path) as archive:
            if any(name.endswith("data.pkl") for name in archive.namelist()):
                return _TORCH[0]
    return kind


def _state_in(content: object) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the one that a checkpoint holds."""
    if not isinstance(content, Mapping):
        return {}
    held = (content.get(name) for name in _STATES)
    found = next((state for state in held if isinstance(state, Mapping) and state), content)
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if all(name.startswith(_PARALLEL) for name in tensors):
        return {name.removeprefix(_PARALLEL): value for name, value in tensors.items()}
    return tensors


def _found(content: object) -> str:
    """What there is instead of weights."""
    if isinstance(content, Mapping):
        return f"it has {', '.join(map(repr, list(content)[:_SHOWN])) or 'nothing'}"
    return f"it is a {type(content).__name__}"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from error
    return tensors


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a backbone from a file; a classifier in the file is left aside.

    Names may carry the prefix under which Lightning modules and this library keep a backbone.

    Raises:
        UserError: The file cannot be read, or is not of this network.
    """
    state, own = _without_prefix(read_state(path)), network.state_dict()
    kept = {n: v for n, v in state.items() if n in own or n.split(".")[0] not in _CLASSIFIERS}
    # Old files do not count BatchNorm's batches, and nothing here reads that count.
    counts = {n: v for n, v in own.items() if n.endswith(".num_batches_tracked")}
    load_weights_strict(network, counts | kept, str(path))


def load_weights_strict(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load ``weights`` into ``module``: all of them, each of the right shape.

    Args:
        module: What is to be filled, in place.
        weights: Tensors by name.
        where: The file that they came from, for the error message.

    Raises:
        UserError: They belong to another network, or to another number of classes.
    """
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name))
    if wrong:
        clauses = [
            f"{name} is {given.get(name, 'missing')}, expected {own.get(name, 'nothing')}"
            for name in wrong[:_SHOWN]
        ]
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UserError(
            f"{where}: belongs to another network or number of classes"
            f" ({'; '.join(clauses)}{more}); use the settings that it was trained with"
        )
    module.load_state_dict(dict(weights))


def renamed(weights: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights whose names begin with a key of ``prefixes``, with its value in its place."""
    return {
        after + name.removeprefix(before): tensor
        for name, tensor in weights.items()
        for before, after in prefixes.items()
        if name.startswith(before)
    }


def of_release(weights: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """``renamed``, without the classifier that the backbone was pre-trained with: none uses it."""
    state = renamed(weights, prefixes)
    return {name: tensor for name, tensor in state.items() if not name.startswith(_CLASSIFIER)}


def stacked(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights of layers ``<prefix>0``, ``<prefix>1``, ... as one wide layer's, by name.

    Vectors of D numbers of P layers become one of D P: all layers' first numbers come first. What
    is a single number is that of the first layer. Empty where there is no such layer.
    """
    layers: list[dict[str, Tensor]] = []
    while layer := renamed(weights, {f"{prefix}{len(layers)}.": ""}):
        layers.append(layer)
    return {
        name: torch.stack([layer[name] for layer in layers], dim=-1).flatten()
        if each.dim()
        else each
        for name, each in (layers[0] if layers else {}).items()
    }


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The part of a state dict under the prefixes that occur, or all of it."""
    for prefix in _PREFIXES:
        inner = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        if inner:
            return _without_prefix(inner)  # a training script may add its own to the library's
    return state
