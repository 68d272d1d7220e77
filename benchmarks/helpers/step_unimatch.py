"""UniMatch's own training loop, from a checkout that the user points at: imported, run as it is written, and stopped.

What a CPU lacks is put in its place (`.cuda()` does nothing, one process needs no DDP, which is to its advantage); on a
GPU nothing of that is touched. ImageNet weights and TensorBoard are left out: neither changes what a step computes.
"""

import contextlib
import importlib.util
import json
import os
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.helpers.step_turns import Side, Turns


class _Done(BaseException):
    """Enough steps were run."""


def run_unimatch(side: Side, turns: Turns) -> None:
    """Its `main`, until `turns` says stop."""
    with tempfile.TemporaryDirectory() as folder:
        module = _imported(side, Path(folder))
        register_optimizer_step_post_hook(lambda *_: _turn(turns))
        with contextlib.suppress(_Done), _precision(side):
            module.main()
        torch.distributed.destroy_process_group()


def _turn(turns: Turns) -> None:
    if not turns.step():
        raise _Done


def _imported(side: Side, folder: Path) -> types.ModuleType:
    checkout = Path(side.unimatch).resolve()
    tensorboard = types.ModuleType("torch.utils.tensorboard")
    tensorboard.SummaryWriter = _Writer  # type: ignore[attr-defined]
    sys.modules["torch.utils.tensorboard"] = tensorboard
    sys.path.insert(0, str(checkout))
    os.chdir(checkout)
    config = {
        "dataset": "pascal",
        "nclass": 21,
        "crop_size": side.crop,
        "data_root": side.data,
        "epochs": 80,
        "batch_size": side.batch,
        "lr": 0.001,
        "lr_multi": 10.0,
        "criterion": {"name": "CELoss", "kwargs": {"ignore_index": 255}},
        "conf_thresh": 0.95,
        "model": "deeplabv3plus",
        "backbone": side.backbone,
        "replace_stride_with_dilation": [False, False, True],
        "dilations": [6, 12, 18],
    }
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    _with_yaml()
    lists = {name: f"{side.data}/{name}.txt" for name in ("labelled", "unlabelled")}
    sys.argv = ["unimatch.py", "--config", str(folder / "config.yaml"), "--save-path", str(folder / "saved")]
    sys.argv += ["--labeled-id-path", lists["labelled"], "--unlabeled-id-path", lists["unlabelled"]]
    os.environ["LOCAL_RANK"] = "0"
    cpu = side.device == "cpu"
    torch.distributed.init_process_group(
        "gloo" if cpu else "nccl", init_method=f"file://{folder}/meet", rank=0, world_size=1
    )
    import unimatch  # type: ignore[import-not-found]
    from model.backbone import resnet  # type: ignore[import-not-found]

    unimatch.setup_distributed = lambda port=None: (0, 1)
    for name in ("resnet50", "resnet101"):
        made = getattr(resnet, name)
        setattr(resnet, name, lambda made=made, pretrained=False, **given: made(pretrained=False, **given))
    if side.backbone == "small":
        unimatch.DeepLabV3Plus = lambda config: Small(config["nclass"])
    if cpu:
        _without_a_gpu()
    if side.kind == "unimatch_bf16":
        _channels_last(unimatch)
    return cast(types.ModuleType, unimatch)


def _with_yaml() -> None:
    """What it uses of PyYAML, by ruamel.yaml where PyYAML is not installed."""
    if importlib.util.find_spec("yaml") is None:
        from ruamel.yaml import YAML

        module = types.ModuleType("yaml")
        module.Loader = None  # type: ignore[attr-defined]
        module.load = lambda stream, Loader: YAML(typ="safe").load(stream)  # type: ignore[attr-defined]
        sys.modules["yaml"] = module


def _without_a_gpu() -> None:
    torch.Tensor.cuda = lambda tensor, *_, **__: tensor  # type: ignore[method-assign]
    nn.Module.cuda = lambda module, *_, **__: module  # type: ignore[method-assign]
    nn.SyncBatchNorm.convert_sync_batchnorm = lambda module, *_, **__: module  # type: ignore[method-assign]
    nn.parallel.DistributedDataParallel = lambda module, **_: module  # type: ignore[misc, assignment]


def _channels_last(unimatch: Any) -> None:
    made = unimatch.DeepLabV3Plus
    unimatch.DeepLabV3Plus = lambda config: made(config).to(memory_format=torch.channels_last)


@contextlib.contextmanager
def _precision(side: Side) -> Iterator[None]:
    """Its loop under bf16 autocast, for the comparison with what a user would try first."""
    if side.kind == "unimatch_bf16":
        with torch.autocast(side.device, dtype=torch.bfloat16):
            yield
    else:
        yield


class _Writer:
    def __init__(self, *_: Any) -> None: ...
    def add_scalar(self, *_: Any) -> None: ...


class Small(nn.Module):
    """Our small network under the names that the loop uses, upsampling as it does."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        from benchmarks.helpers.step_plain import switch_off
        from trainers.models.build import build_model
        from trainers.models.model_config import ModelConfig

        switch_off(("upsampling by products",))
        config = ModelConfig(backbone="small", upsample="bilinear", weights="none")
        whole = build_model(config, num_classes=classes, seed=0)
        self.backbone, self.rest = whole.backbone, whole
        del whole.backbone
        self.channels = whole.stream_channels

    def forward(self, images: torch.Tensor, need_fp: bool = False) -> Any:
        size = (images.shape[-2], images.shape[-1])
        low, high = self.backbone(images)
        if not need_fp:
            return self.rest.decode((low, high), size)
        low, high = (torch.cat([one, nn.functional.dropout2d(one, 0.5)]) for one in (low, high))
        return self.rest.decode((low, high), size).chunk(2)
