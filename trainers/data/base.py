"""What every data layout's config has, and what every layout must offer."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from trainers.common.errors import ConfigError
from trainers.common.section import Section
from trainers.data.labelmap import LabelMapConfig, label_map_of
from trainers.data.layout import RGB_BANDS, Decoding, Layout
from trainers.data.listfile import known_encoding

PAGE = 4096


class HoldoutConfig(Section):
    """Training images cut off for evaluation during a search, so that tuning never sees the reporting set."""

    images: Annotated[int, Field(ge=1)]
    """How many images are cut off."""
    source: Literal["labelled", "unlabelled"] = "labelled"
    """The list that they are cut from. `unlabelled` takes them from those of that list that have masks: the estimate is
    better, but the search then uses more labels than the labelled split has, and the report says so."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Which images; independent of the training's seed, so that all seeds are scored on the same ones."""


class DrawConfig(Section):
    """Draw the labelled split from a list of images with masks instead of reading one; the rest is unlabelled."""

    labelled: Annotated[int, Field(ge=1)]
    """How many images keep their labels. Splits of one seed are nested from small to large."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Which images keep their labels: another seed draws others."""


class BaseDataConfig(Section):
    """Lists are split files, one image a line, relative to `root` unless absolute."""

    own_lists: ClassVar[bool] = False
    """The data set brings split files of its own, used where the config names none."""

    official_val: ClassVar[bool] = False
    """The data set is a benchmark with a validation set on which papers report; else `val` is a list like any other."""

    crop: Annotated[int, Field(ge=16)]
    """Side of the square training crop in pixels."""
    batch_size: Annotated[int, Field(ge=1)]
    """Labelled images per step over all processes; as many unlabelled ones come with them."""
    labelled: str | None = None
    """Split file of the labelled images."""
    unlabelled: str | None = None
    """Split file of the unlabelled images; a mask column is allowed and not read."""
    train: str | None = None
    """Instead of the two: one list of all training images with masks, from which `draw` takes the labelled ones."""
    draw: DrawConfig | None = None
    """How many images of `train` keep their labels, and which; needed with `train`."""
    list_encoding: str = "utf-8"
    """Encoding of split files that begin with no byte order mark; with one they are read by it (UTF-8, 16 and 32)."""
    val: str | None = None
    """Split file of the images that results are reported on, such as a benchmark's official validation set; read only
    in a final run."""
    holdout: HoldoutConfig | None = None
    """Images on which a search is scored; none is allowed only where `evaluation.final` is true."""
    copies: Literal["refuse", "as_listed"] = "refuse"
    """Images that the lists hold more than once: under another name, through a link, or as a file of equal content.
    `refuse`: what a list names again is left out and said, and an image of `val` that trains is an error. `as_listed`:
    for a published split that has such images; nothing is left out, and the plan says how many there are. Copies of a
    held-out image never train."""
    loader_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Loader processes per training process. `auto`: none on a CPU; for a GPU as many as there are cores, less one.
    Never more than shared memory (/dev/shm) holds batches of. The images do not depend on it."""
    loader_wait_s: Annotated[float, Field(gt=0)] = 300.0
    """How long loader workers may give no batch, in seconds, before the run ends with what may be the cause."""
    cache_gb: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """Decoded images that this machine keeps on disk for each data folder, in GB at most, in `$XDG_CACHE_HOME` or
    `~/.cache`, below `ipix-tune/decoded`: every loader worker of every trial reads them there. `auto`: all of them
    where half of the disk's free space holds them, else 8. 0: none. The curve does not depend on it."""
    on_corrupt: Literal["error", "skip"] = "error"
    """A training image that cannot be opened or decoded (damaged, gone since the lists were read, larger than Pillow
    opens) stops the run by name, or is replaced by the next one and counted."""
    label_map: LabelMapConfig | None = None
    """What the masks hold, where that is not class indices: values to classes ({0: 0, 255: 1}), colours to classes
    ({255 0 0: 1, "#00ff00": ignore}), or `reduce_zero`: 0 is ignored and all else lies one too high, as in ADE20K.
    A value that is not named is an error; 255 is ignored unless it is named."""
    value_range: tuple[float, float] | None = None
    """Of grey images deeper than 8 bits (16 and 32 bits, float), and of images of `data.bands`: the values that become
    black and white; what lies outside is clipped. None: all 16 bits, floats from 0 to 1, and other kinds are
    refused."""
    exif: Literal["apply", "ignore"] = "apply"
    """Whether images and masks are turned by the EXIF orientation in their own file, as viewers do. `ignore` where
    masks were drawn on the pixels as they are stored."""

    @field_validator("list_encoding")
    @classmethod
    def _encoding_is_known(cls, name: str) -> str:
        return known_encoding(name)

    @model_validator(mode="after")
    def _one_source_of_labels(self) -> Self:
        if self.draw is not None and self.train is None and not self.own_lists:
            raise ValueError("draw needs train: the list of images to draw from")
        if self.draw is None and self.train is not None:
            raise ValueError("train needs draw: how many of its images keep their labels")
        if (self.train or self.draw) and (self.labelled is not None or self.unlabelled is not None):
            raise ValueError("give either train with draw, or labelled with unlabelled, not both")
        return self

    @field_validator("value_range")
    @classmethod
    def _ascending(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given is not None and given[0] >= given[1]:
            raise ValueError("the first value is the darkest and must be below the second")
        return given

    def decoding(self, num_classes: int) -> Decoding:
        """How the files are read.

        Raises:
            ConfigError: `label_map` cannot be used with so many classes.
        """
        try:
            label_map = None if self.label_map is None else label_map_of(self.label_map, num_classes=num_classes)
        except ValueError as error:
            raise ConfigError(f"data.label_map: {error}") from error
        return Decoding(label_map=label_map, exif=self.exif, value_range=self.value_range)

    def image_bands(self) -> int:
        """Bands of the images as they are read."""
        return RGB_BANDS

    def layout(self) -> Layout:
        """Where the data lies and how its split lines are read; makes the data first where it is ours to make."""
        raise NotImplementedError
