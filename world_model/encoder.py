"""Encoders: one view in, one embedding z out, with no projector after it."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

EncoderName = Literal["small", "resnet18", "resnet18-cifar"]
Stem = Literal["imagenet", "cifar"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip; the last BatchNorm gain starts at 0, so a fresh block is its skip alone.

    Source: He et al. 2016, figure 5 left; the zero gain, which seq-JEPA has too, is Goyal et al. 2017, section 5.1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.bn2.weight)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, (B, out_channels, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + skip)


class ResNet18(nn.Module):
    """ResNet-18 without its classifier: views of any size to 512-d embeddings; parameter names are torchvision's.

    Source: He et al. 2016, table 1; the "cifar" stem (3x3 stride 1, no max-pool) is the seq-JEPA paper's for 32x32.
    """

    z_dim = 512

    def __init__(self, stem: Stem, in_channels: int = 3) -> None:
        super().__init__()
        if stem not in get_args(Stem):
            raise ValueError(f"stem must be one of {get_args(Stem)}, got {stem!r}")
        kernel, stride, padding = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
        self.conv1 = nn.Conv2d(in_channels, 64, kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, views: Tensor) -> Tensor:
        """Return embeddings (B, 512) of float `views` (B, C, H, W)."""
        x = self.pool(torch.relu(self.bn1(self.conv1(views))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))


def resnet18(stem: Stem, in_channels: int = 3) -> ResNet18:
    """Return a ResNet-18 encoder with a 512-d output.

    Args:
        stem: "imagenet" (7x7 stride 2, max-pool) or "cifar" (3x3 stride 1, no max-pool), the latter for 32x32 views.
        in_channels: Channels of a view.
    """
    return ResNet18(stem, in_channels)


class SmallCNN(nn.Module):
    """Stride-2 convolutions down to a 2x2 map, then Linear to z: an encoder that a CPU can train in minutes.

    Channels are `width` times 1, 2, 4, 4, …: four convolutions for 32x32 (0.31 M parameters), five for 64x64 (0.45 M).

    Args:
        size: Side of the square views in pixels, at least 4.
        in_channels: Channels of a view.
        z_dim: Length of the embedding.
        width: Channels of the first convolution.

    Raises:
        ValueError: `size` is below 4.
    """

    def __init__(self, size: int, in_channels: int = 3, z_dim: int = 128, width: int = 32) -> None:
        super().__init__()
        if size < 4:
            raise ValueError(f"size must be at least 4 pixels, got {size}")
        self.z_dim = z_dim
        layers: list[nn.Module] = []
        channels, side, depth = in_channels, size, 0
        while side > 2:
            out = width * min(2**depth, 4)
            layers += [nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            channels, side, depth = out, (side + 1) // 2, depth + 1
        self.convolutions = nn.Sequential(*layers)
        self.linear = nn.Linear(channels * side * side, z_dim)

    def forward(self, views: Tensor) -> Tensor:
        """Return embeddings (B, z_dim) of float `views` (B, C, size, size)."""
        return self.linear(self.convolutions(views).flatten(1))


def build_encoder(name: EncoderName, *, size: int | None, in_channels: int, z_dim: int) -> ResNet18 | SmallCNN:
    """Return the encoder called `name`; its `z_dim` attribute is the length of what it returns.

    Args:
        name: "small", "resnet18" (ImageNet stem) or "resnet18-cifar" (CIFAR stem).
        size: Side of the views in pixels; None means any, which "small" cannot do.
        in_channels: Channels of a view.
        z_dim: Length of the embedding; a ResNet-18 has 512.

    Raises:
        ValueError: The name is unknown, or the encoder cannot have this `size` or `z_dim`.
    """
    if name not in get_args(EncoderName):
        raise ValueError(f"encoder must be one of {get_args(EncoderName)}, got {name!r}")
    if name == "small":
        if size is None:
            raise ValueError("encoder 'small' has a fixed view size: set size to the side of the views in pixels")
        return SmallCNN(size, in_channels, z_dim)
    if z_dim != ResNet18.z_dim:
        raise ValueError(f"encoder {name!r} gives {ResNet18.z_dim}-d embeddings, got z_dim={z_dim}: set z_dim=512")
    return resnet18("cifar" if name == "resnet18-cifar" else "imagenet", in_channels)
