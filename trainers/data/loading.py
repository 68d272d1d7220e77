"""How many loader workers a run starts, and how much of its data is kept decoded, where the config leaves both open."""

import logging
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trainers.common.errors import DataError
from trainers.data.base import PAGE
from trainers.data.layout import RGB_BANDS, Item, cache_folder
from trainers.data.open import OpenData
from trainers.data.opening import opened
from trainers.data.pixels import read_header
from trainers.interface.method import Needs

if TYPE_CHECKING:
    from trainers.data.loader_config import LoaderConfig

logger = logging.getLogger(__name__)

MOST_WORKERS = 8
"""More do not make a step's batch sooner: one makes it while the others make those of the next steps."""
GB = 10**9
FORMER_GB = 8
"""Kept where the disk has no room for all."""
PLACE = 8
"""Bytes of an image's place in its list."""
LOOKED_AT = 16
"""Images whose size is looked up."""
SHARED_MEMORY = Path("/dev/shm")
"""Where workers leave their batches for the training process. When it is full, PyTorch's workers wait for ever."""


@dataclass(frozen=True, kw_only=True)
class CacheSize:
    """How much of the decoded images a run keeps on disk: bytes of the store of a data folder (a whole number of
    pages), and the same in words. Chosen once for a run, since the disk's room changes meanwhile."""

    size: int
    words: str

    def at_most(self, size: int) -> "CacheSize":
        """The same where another process of the run has room for no more than ``size`` bytes."""
        if self.size <= size:
            return self
        return CacheSize(
            size=size, words=f"up to {size / GB:.3g} GB of decoded images kept (the least of all processes)"
        )


@dataclass(frozen=True, kw_only=True)
class Loading:
    """What was chosen: processes, and what is kept of the decoded images."""

    workers: int
    kept: CacheSize
    lines: tuple[str, ...]
    """The same in words."""


def loading(
    config: "LoaderConfig",
    data: OpenData,
    needs: Needs,
    *,
    device: Literal["cpu", "cuda"],
    world: int = 1,
    kept: CacheSize | None = None,
) -> Loading:
    """For one training process of ``world``, on this machine. Neither number changes an image.

    Args:
        kept: what the run has chosen already; None: it is chosen here.
    """
    asked, why = config.data.loader_workers, ""
    if asked == "auto":
        asked = auto_workers(device, cores=cores())
        why = " (data.loader_workers: auto; on a CPU the cores train)" if device == "cpu" else " (auto)"
    batch, free = batch_bytes(config, needs, device=device, world=world), _shared_free()
    workers = asked if free is None else min(asked, max(0, (free // batch - 1) // 2))  # two on the way, one being taken
    if workers < asked and free is not None:
        why = (
            f" instead of {asked}: {SHARED_MEMORY}, through which they hand over batches of {batch / 1e6:.3g} MB, has "
            f"{free / 1e6:.3g} MB free, room for no more"
        )
        logger.warning("%d loader workers%s; enlarge it (docker run --shm-size)", workers, why)
    kept = kept or kept_images(config, data)
    return Loading(workers=workers, kept=kept, lines=(f"{_workers(workers)}{why}; {kept.words}",))


def _workers(count: int) -> str:
    if count == 0:
        return "batches are made by the training process"
    return f"{count} loader worker{'s' if count > 1 else ''} a training process"


def cores() -> int:
    """CPU cores for this process: those it may use, by its affinity and a container's quota, shared among the training
    processes of this machine."""
    from joblib import cpu_count

    return max(1, int(cpu_count()) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def auto_workers(device: Literal["cpu", "cuda"], *, cores: int) -> int:
    """None on a CPU, whose cores compute the steps. For a GPU all cores but the one that drives it: at least one, since
    batches are otherwise made while the GPU waits."""
    return 0 if device == "cpu" else min(MOST_WORKERS, max(1, cores - 1))


def batch_bytes(config: "LoaderConfig", needs: Needs, *, device: Literal["cpu", "cuda"], world: int) -> int:
    """What one process's part of a batch takes on its way from a worker. For a GPU crops are integers, and their strong
    views and `ignore` maps are made there; for a CPU every view is float32. Masks and places in a list are int64."""
    pixels, images = config.data.crop**2, config.data.batch_size // world
    bands = config.data.image_bands()
    whole = 1 if bands == RGB_BANDS else 2
    crop, mask = bands * (whole if device == "cuda" else 4) * pixels, 8 * pixels

    def views(strong: int) -> int:
        return crop if device == "cuda" else (1 + strong) * crop

    labelled = needs.labelled_batches * (views(needs.labelled_strong) + mask + PLACE)
    unlabelled = 0
    if needs.unlabelled:
        partner = needs.mixed > 0 and config.views.cutmix_partner == "second_view"
        crops = 1 + partner + (needs.overlap is not None)
        ignore, pseudo = (0 if device == "cuda" else mask), needs.pseudo_planes * mask
        unlabelled = crops * (views(needs.strong) + ignore) + needs.mixed * pixels + pseudo
        unlabelled *= needs.unlabelled_batches
    return images * (labelled + unlabelled)


def _shared_free() -> int | None:
    """Free bytes of shared memory for this training process, each of whose workers has two batches there; None where
    the machine has none."""
    if not SHARED_MEMORY.is_dir():
        return None
    return shutil.disk_usage(SHARED_MEMORY).free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def kept_images(config: "LoaderConfig", data: OpenData) -> CacheSize:
    """What the store may take. `auto`: all of the training and held-out images, where they take no more than half of
    what the disk has; else `FORMER_GB`."""
    if config.data.cache_gb != "auto":
        size = int(config.data.cache_gb * GB)
        return CacheSize(size=size // PAGE * PAGE, words=f"up to {config.data.cache_gb:g} GB of decoded images kept")
    needed = math.ceil(1.1 * decoded_bytes([*data.labelled, *data.unlabelled, *data.holdout]) / GB)
    room = _disk_room() / 2 / GB
    if needed <= max(FORMER_GB, room):
        return CacheSize(
            size=max(FORMER_GB, needed) * GB // PAGE * PAGE,
            words=f"all decoded images kept on disk, {needed} GB at most (auto)",
        )
    return CacheSize(
        size=FORMER_GB * GB // PAGE * PAGE,
        words=f"{FORMER_GB} of some {needed} GB of decoded images kept (auto): the disk of {cache_folder()} has no "
        "more room",
    )


def decoded_bytes(items: Sequence[Item]) -> int:
    """Bytes of all images and masks as they are kept, estimated from the sizes of some of them."""
    sizes = []
    for item in items[:: max(1, len(items) // LOOKED_AT)]:
        try:
            if item.decoding.bands != RGB_BANDS:
                sizes.append(math.prod(read_header(item.image, item).size))
                continue
            with opened(item.image, item) as image:
                sizes.append(image.height * image.width)
        except DataError:  # whoever reads it will say so
            continue
    bands = items[0].decoding.bands if items else RGB_BANDS
    pixel = 4 if bands == RGB_BANDS else 2 * bands + 1
    return pixel * len(items) * sum(sizes) // max(1, len(sizes))


def _disk_room() -> int:
    """Free on the disk of the store, with what the store has of it already."""
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    kept = sum(file.stat().st_blocks * 512 for file in (cache_folder() / "decoded").glob("*/data.mdb"))
    return shutil.disk_usage(folder).free + kept
