"""What a first study of a new data set is set to: by the images' size and number, and by what this machine has."""

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.request import Request, urlopen

GIB = 2**30
ANSWER_S = 5.0
"""How long a server may take to say whether pretrained weights can be had."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a study can use here.

    Args:
        cpus: cores that this process may use.
        gpus: CUDA devices.
        gpu: name of the first one.
        gpu_bytes: its memory.
        bf16: whether it computes in bfloat16.
        weights: whether ImageNet weights of ResNet-50 are here or can be fetched.
    """

    cpus: int
    gpus: int = 0
    gpu: str = ""
    gpu_bytes: int = 0
    bf16: bool = False
    weights: bool = False

    @property
    def words(self) -> str:
        """The machine in a few words, such as: 8 CPU cores, no GPU."""
        gpu = f", {self.gpus} x {self.gpu} with {self.gpu_bytes / GIB:.0f} GiB" if self.gpus else ", no GPU"
        return f"{self.cpus} CPU cores{gpu}"


def this_machine() -> Hardware:
    """What is here; weights are asked for only where there is a GPU to train with them."""
    import torch
    from joblib import cpu_count

    cpus = int(cpu_count())
    if not torch.cuda.is_available():
        return Hardware(cpus=cpus)
    device = torch.cuda.get_device_properties(0)
    return Hardware(
        cpus=cpus,
        gpus=torch.cuda.device_count(),
        gpu=device.name,
        gpu_bytes=int(device.total_memory),
        bf16=bool(torch.cuda.is_bf16_supported(including_emulation=False)),
        weights=_weights_can_be_had(),
    )


def _weights_can_be_had() -> bool:
    """Whether ImageNet weights lie in torch's cache or can be had from its server."""
    import torch
    import torchvision

    url = torchvision.models.get_model_weights("resnet50")["IMAGENET1K_V1"].url
    if (Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]).is_file():
        return True
    try:
        with urlopen(Request(url, method="HEAD"), timeout=ANSWER_S):
            return True
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Values of the study file, as its keys are called."""

    backbone: Literal["small", "resnet50"]
    weights: Literal["none", "imagenet"]
    crop: int
    batch_size: int
    scale: float
    """Share of their size at which the network sees images."""
    epochs: int
    steps_per_epoch: int
    grace_epochs: int
    trials: int
    amp: Literal["off", "bf16", "fp16"]
    cpus_per_worker: int
    gpus_per_worker: int
    lr: float
    lr_range: tuple[float, float]
    head_lr_multiplier: float


def settings_for(machine: Hardware, *, sizes: list[tuple[int, int]], labelled: int, unlabelled: int) -> Settings:
    """Settings of a study that fits.

    Args:
        sizes: (height, width) of the images.
        labelled: images that train with labels, those cut off for scores not counted.
        unlabelled: images that train without.
    """
    on_gpu = machine.gpus > 0
    most = 64 if not on_gpu else 256 if machine.gpu_bytes < 12 * GIB else 320
    short, long = (statistics.median(ends(size) for size in sizes) for ends in (min, max))
    scale = min(1.0, 3 * most / long)
    crop = max(32, min(most, 32 * math.ceil(short * scale / 32)))
    batch = 4 if not on_gpu or machine.gpu_bytes < 32 * GIB else 8
    batch = max(1, min(batch if machine.gpu_bytes >= 12 * GIB or not on_gpu else 2, labelled))
    passes = math.ceil(max(unlabelled, labelled) / batch)
    pretrained = on_gpu and machine.weights
    return Settings(
        backbone="resnet50" if on_gpu else "small",
        weights="imagenet" if pretrained else "none",
        crop=crop,
        batch_size=batch,
        scale=round(scale, 3),
        epochs=40 if on_gpu else 6,
        steps_per_epoch=min(500, max(100, passes)) if on_gpu else min(60, max(20, passes)),
        grace_epochs=4 if on_gpu else 2,
        trials=32 if on_gpu else 8,
        amp="bf16" if machine.bf16 else "fp16" if machine.gpus else "off",
        cpus_per_worker=max(1, min(8, machine.cpus // machine.gpus)) if on_gpu else 1,
        gpus_per_worker=1 if on_gpu else 0,
        lr=1e-3 if pretrained else 0.05,
        lr_range=(1e-4, 1e-2) if pretrained else (0.01, 0.3),
        head_lr_multiplier=10 if pretrained else 1,
    )
