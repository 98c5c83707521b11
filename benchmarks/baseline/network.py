"""CAL's network as a plain author writes it: float32, default memory format, every step by itself.

The backbone is torchvision's ResNet, or the tiny network with the same layers and names.
"""

from collections import OrderedDict

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from benchmarks.baseline.frequency import PlainEnhancement
from owdfa.methods.cal import CAL


class PlainNetwork(nn.Module):
    """Images to logits and embedding."""

    def __init__(self, model: str, channels: int, num_prototypes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = plain_backbone(model)
        self.ffe = PlainEnhancement()
        self.norm = nn.BatchNorm1d(channels)
        self.norm.bias.requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        self.prototypes = nn.Linear(channels, num_prototypes, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) to (B, prototypes) and (B, channels)."""
        maps = self.ffe(images, self.backbone(images))
        features = nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1)
        embedding = self.dropout(self.norm(features))
        return self.prototypes(embedding), embedding


def like(cal: CAL) -> PlainNetwork:
    """The plain network with the weights of ``cal``, see ``plain_backbone``."""
    capacity, channels = cal.prototypes.vectors.shape
    plain = PlainNetwork(cal.backbone.name, channels, capacity, cal.dropout.p)
    assert cal.ffe is not None
    plain.backbone.load_state_dict(cal.backbone.network.state_dict())
    plain.ffe.load_state_dict(cal.ffe.state_dict())
    plain.norm.load_state_dict(cal.neck.norm.state_dict())
    plain.prototypes.load_state_dict({"weight": cal.prototypes.vectors.detach()})
    return plain.to(memory_format=torch.contiguous_format).train(cal.training)


def plain_backbone(model: str) -> nn.Module:
    """A ResNet of torchvision, or of timm, which names the layers alike; or the tiny network."""
    library, _, name = model.partition("/")
    if library == "tiny":
        return _tiny(int(name.partition("w")[2]))
    whole = torchvision.models.get_model(name.partition(".")[0])
    parts = [(n, part) for n, part in whole.named_children() if n not in ("avgpool", "fc")]
    return nn.Sequential(OrderedDict(parts))


def _tiny(width: int) -> nn.Module:
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    stages["residuals"] = _Residuals()
    stages["stem"] = _convolution(15, width, 5, 2)
    before = width
    for number, after in enumerate((width, 2 * width, 4 * width), 1):
        stages[f"stage{number}"] = nn.Sequential(_Block(before, after, 1 if number == 1 else 2))
        before = after
    stages["embedding"] = _convolution(4 * width, 16 * width, 1, 1)
    return nn.Sequential(stages)


class _Residuals(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        second = torch.tensor([[0.0, 0, 0], [1, -2, 1], [0, 0, 0]]) / 2
        square = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 4
        laplace = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]) / 4
        bank = torch.stack([second, second.T, square, laplace])
        self.register_buffer("filters", bank[:, None].repeat(3, 1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        residuals = conv2d(pad(images, (1, 1, 1, 1), mode="reflect"), self.filters, groups=3)
        return torch.cat([images, torch.clamp(10 * residuals, -3, 3)], dim=1)


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(before, after, 3, stride),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != after or stride != 1:
            convolution = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.residual(x) + self.shortcut(x))


def _convolution(before: int, after: int, size: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))
