"""What a backbone is: images in, feature maps out, and how its images are to be normalised."""

from collections.abc import Sequence
from difflib import get_close_matches
from threading import get_ident
from typing import final

import torch
from torch import Tensor, nn

from owdfa import catalog
from owdfa.errors import UserError

Colour = tuple[float, float, float]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def scale_and_shift(mean: Colour, std: Colour) -> tuple[Tensor, Tensor]:
    """What normalises levels from 0 to 255: times, plus; each (3, 1, 1) float32."""
    scale = torch.tensor([1 / (255 * s) for s in std])
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])
    return scale.view(3, 1, 1), shift.view(3, 1, 1)


@final
class _Recorder:
    """Keeps what modules put out, inside of a ``with`` block; a copied network has a copy of it."""

    def __init__(self) -> None:
        self._found: dict[int, list[Tensor]] = {}  # by thread: several may use one network

    def __enter__(self) -> list[Tensor]:
        return self._found.setdefault(_thread(), [])

    def __exit__(self, *_: object) -> None:
        del self._found[_thread()]

    def record(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        """Be a forward hook."""
        found = self._found.get(_thread())
        if found is not None:
            found.append(output)


@final
class Backbone(nn.Module):
    """A network without its pooling and classifier.

    Attributes:
        name: ``<library>/<model>``, e.g. ``"timm/resnet50.a1_in1k"``.
        channels: Number of channels of the last feature map.
        stage_channels: Number of channels of the map after each stage, the last included.
        mean, std: Per colour channel, for images in [0, 1].
        is_frozen: Whether what it makes of an image is the same at all times: features
            (B, channels, 1, 1), which are computed once and kept beside the crops.

    Args:
        network: Turns images into the last feature map.
        stage_modules: Names of the submodules of ``network`` whose outputs are the maps of its
            stages, before the last; empty where the library does not name them.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        mean: Colour,
        std: Colour,
        stage_modules: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.mean = mean
        self.std = std
        scale, shift = scale_and_shift(mean, std)
        self.scale: Tensor
        self.register_buffer("scale", scale, persistent=False)
        self.shift: Tensor
        self.register_buffer("shift", shift, persistent=False)
        # Registered once: hooks that come and go would have a compiler begin anew at every step.
        self._recorder = _Recorder()
        for module_name in stage_modules:
            module = network.get_submodule(module_name)
            module.register_forward_hook(self._recorder.record)
        self.is_frozen = bool(getattr(network, "is_frozen", False))
        self.stage_channels = self._num_channels()

    @property
    def channels(self) -> int:
        """Number of channels of the last feature map."""
        return self.stage_channels[-1]

    def normalise(self, levels: Tensor) -> Tensor:
        """Turn levels (B, 3, H, W) uint8 into what the network takes, float32."""
        return levels.float().mul_(self.scale).add_(self.shift)

    def forward(self, images: Tensor, stages: Sequence[int] = (-1,)) -> tuple[Tensor, ...]:
        """Compute feature maps.

        Args:
            images: (B, 3, H, W), normalised; of a frozen backbone also its features
                (B, channels, 1, 1), which are given back.
            stages: Which maps: -1 is the last, 0 the one after the first residual stage.

        Returns:
            For each of ``stages`` a map (B, channels, h, w).
        """
        if self.is_frozen and images.shape[1:] == (self.channels, 1, 1):
            return (images,) * len(stages)
        if all(stage == -1 for stage in stages):
            return (self.network(images),) * len(stages)
        found = self._all_maps(images)
        return tuple(found[stage] for stage in stages)

    def _all_maps(self, images: Tensor) -> list[Tensor]:
        """The map after each stage, from hooks on the stages' modules, then the last map."""
        with self._recorder as found:
            last = self.network(images)
        return [*found, last]

    def _num_channels(self) -> tuple[int, ...]:
        """Find the number of channels of each map by running the network on a blank image.

        Raises:
            UserError: What comes out is not a feature map (B, channels, h, w).
        """
        was_training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad():
                maps = self._all_maps(torch.zeros(1, 3, 64, 64))
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"backbone {self.name}: does not take images of any size ({reason})"
            ) from error
        finally:
            self.network.train(was_training)
        # A square image gives a square map; with the channels last it does not look like one.
        if any(each.dim() != 4 or each.shape[2] != each.shape[3] for each in maps):
            raise UserError(
                f"backbone {self.name}: gives no feature map; choose a convolutional network"
            )
        return tuple(int(each.shape[1]) for each in maps)


def _thread() -> int:
    """Id of this thread; 0 under torch's compiler, which cannot trace the call."""
    return 0 if torch.compiler.is_compiling() else get_ident()


def build(name: str, weights: str | None = None) -> Backbone:
    """Build ``<library>/<model>`` with the library's module in ``owdfa/backbones/``.

    Args:
        name: E.g. ``"timm/resnet50"``.
        weights: None for random ones, ``"hub"`` for the library's pre-trained ones, or a file
            (safetensors, or a state dict that torch saved).

    Raises:
        UserError: There is no such library or model, it gives no feature map, or the weights are
            not available or do not fit.
    """
    library, slash, model = name.partition("/")
    if not slash:
        raise UserError(f"backbone {name!r}: write it as library/model, e.g. timm/resnet50")
    module = catalog.load("backbones", library)
    backbone: Backbone = module.build(model, weights=weights)
    return backbone


def is_frozen(name: str) -> bool:
    """Whether the backbones of a library are frozen, see ``Backbone``: its file says so."""
    library = name.partition("/")[0]
    return bool(getattr(catalog.load("backbones", library), "FROZEN", False))


def check_model(library: str, model: str, models: list[str]) -> None:
    """Raise a ``UserError`` that names the nearest model when ``model`` is not among them."""
    if model not in models:
        near = get_close_matches(model, models, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "owdfa backbones lists the libraries"
        raise UserError(f"no backbone named {library}/{model}; {remedy}")


def unavailable(name: str, error: Exception) -> UserError:
    """The error for pre-trained weights that are not available, with the remedy."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"backbone {name}: its pre-trained weights are not available ({reason});"
        " when offline, name a file of them with --weights FILE"
    )
