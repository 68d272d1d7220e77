"""What a network's input has to be: bands, sides, normalisation. The data pipeline and whoever predicts go by it."""

from dataclasses import dataclass

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's RGB values in 0 .. 1."""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The images (B, bands, H, W) that a network takes.

    Args:
        mean, std: of each band in 0 .. 1; the network takes (image - mean) / std.
        multiple: H and W must be multiples of it in training, in pixels; 1: any size. In evaluation a network brings
            other sizes to them itself.
        smallest: H and W must be at least this.
        fixed: it takes squares of `multiple` alone.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    multiple: int = 1
    smallest: int = 1
    fixed: bool = False

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} deviations: one of each for every band")

    @property
    def bands(self) -> int:
        """Number of bands, 3 for RGB."""
        return len(self.mean)


RGB = InputSpec()
"""RGB of any size, normalised as ImageNet's."""
