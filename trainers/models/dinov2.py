"""DINOv2's vision transformers as UniMatch V2 reads them (methods: section 23): patch 14, no registers, four blocks.

Parameters have timm's names, which are those of the original files, less their mask token.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from trainers.common.float32 import exact, without_autocast

PATCH = 14
Size = Literal["tiny", "small", "base", "large"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What tells the sizes apart.

    Args:
        width: of a token.
        depth, heads: blocks, and attention heads of each.
        taps: blocks whose tokens the head reads, from 0.
        reassembled: channels to which the head brings each of the four.
        fused: channels of the head's fusions.
        grid: rows and columns of the position grid.
    """

    width: int
    depth: int
    heads: int
    taps: tuple[int, int, int, int]
    reassembled: tuple[int, int, int, int]
    fused: int
    grid: int = 37


SHAPES: dict[Size, Shape] = {
    "tiny": Shape(
        width=32, depth=4, heads=2, taps=(0, 1, 2, 3), reassembled=(8, 8, 16, 16), fused=8, grid=4
    ),  # of no publication: a CPU trains it in seconds
    "small": Shape(width=384, depth=12, heads=6, taps=(2, 5, 8, 11), reassembled=(48, 96, 192, 384), fused=64),
    "base": Shape(width=768, depth=12, heads=12, taps=(2, 5, 8, 11), reassembled=(96, 192, 384, 768), fused=128),
    "large": Shape(width=1024, depth=24, heads=16, taps=(4, 11, 17, 23), reassembled=(256, 512, 1024, 1024), fused=256),
}


class DinoV2(VisionTransformer):
    """timm's vision transformer with the positions of DINOv2's release.

    Args:
        drop_path: probability with which the last block is left out for an image in training; blocks before it less,
            in proportion to their depth.
    """

    def __init__(self, shape: Shape, *, in_channels: int = 3, drop_path: float = 0.0) -> None:
        super().__init__(
            img_size=shape.grid * PATCH,
            patch_size=PATCH,
            in_chans=in_channels,
            embed_dim=shape.width,
            depth=shape.depth,
            num_heads=shape.heads,
            init_values=1.0,
            num_classes=0,
            dynamic_img_size=True,
            drop_path_rate=drop_path,
        )
        self.shape = shape

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """The tokens of the four blocks, each through the final norm, without the class token: (B, D, H / 14, W / 14),
        of images (B, bands, H, W) whose sides are multiples of 14."""
        taken = self.forward_intermediates(images, indices=list(self.shape.taps), norm=True, intermediates_only=True)
        return tuple(cast(list[Tensor], taken))

    def _pos_embed(self, patches: Tensor) -> Tensor:
        """Tokens (B, 1 + h w, D) with their positions, of patches (B, h, w, D). Takes the place of timm's, which
        resamples the grid with antialiasing and without the offset: the same at 518 pixels, another network elsewhere.
        """
        batch, rows, columns, width = patches.shape
        first = cast(Tensor, self.cls_token).expand(batch, -1, -1)
        tokens = torch.cat([first, patches.reshape(batch, -1, width)], dim=1)
        return tokens + self._positions(rows, columns)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """The class token's and the grid's, (1, 1 + rows columns, D)."""
        grid = self.shape.grid
        positions = cast(Tensor, self.pos_embed)
        if rows == columns == grid:
            return positions
        table = exact(positions[0, 1:]).view(grid, grid, -1)
        down, across = (resampling(grid, length, table.device, table.dtype) for length in (rows, columns))
        with without_autocast(table.device):
            resampled = torch.einsum("rg,ghd,ch->rcd", down, table, across)
        return torch.cat([positions[:, :1], resampled.reshape(1, rows * columns, -1).to(positions.dtype)], dim=1)


_KEPT: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def resampling(before: int, after: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What each of ``after`` places takes of ``before`` ones along one side, (after, before): bicubic, the scale
    (after + 0.1) / before as DINOv2's release has it. As a matrix product the gradient is deterministic on a GPU, where
    PyTorch's bicubic one is not. Made once and kept on the device."""
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None:
        return _made(before, after).to(device, dtype)
    key = (before, after, device, dtype)
    if key not in _KEPT:
        _KEPT[key] = _made(before, after).to(device, dtype)
    return _KEPT[key]


def _made(before: int, after: int) -> Tensor:
    units = torch.eye(before, dtype=torch.float64)[None, None]
    return F.interpolate(units, scale_factor=((after + 0.1) / before, 1.0), mode="bicubic")[0, 0]
