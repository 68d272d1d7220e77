"""Evaluation on whole images or sliding windows (methods: section 20); each image counted once over all processes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainers.config import TrainConfig
from trainers.data.evaluation import eval_items
from trainers.data.layout import Item
from trainers.data.read import Reader
from trainers.distributed import Process
from trainers.metrics import confusion_matrix, scores


@torch.no_grad()
def evaluate(
    networks: dict[str, nn.Module],
    items: Sequence[Item],
    *,
    config: TrainConfig,
    reader: Reader,
    num_classes: int,
    process: Process,
    main: str,
    prefix: str,
) -> dict[str, float]:
    """Scores of every network on ``items``: ``<prefix>/<network>/miou`` each, and all scores of ``main`` under
    ``<prefix>``. The networks are left in eval mode."""
    counts = {
        name: torch.zeros(num_classes, num_classes, dtype=torch.int64, device=process.device) for name in networks
    }
    for network in networks.values():
        network.eval()
    for image, mask in eval_items(items, reader=reader, rank=process.rank, world=process.world):
        image, mask = image.to(process.device), mask.to(process.device)
        for name, network in networks.items():
            with torch.autocast(process.device.type, dtype=torch.bfloat16, enabled=config.precision.amp == "bf16"):
                if config.evaluation.mode == "sliding":
                    prediction = predict_sliding(network, image, window=config.data.crop, num_classes=num_classes)
                else:
                    prediction = network(image).argmax(dim=1)
            counts[name] += confusion_matrix(prediction, mask, num_classes)
    found: dict[str, float] = {}
    for name, matrix in counts.items():
        process.sum_(matrix)
        one = scores(matrix, absent=config.evaluation.absent, prefix=prefix)
        found[f"{prefix}/{name}/miou"] = one[f"{prefix}/miou"]
        if name == main:
            found |= one
    return found


def window_starts(length: int, *, window: int) -> list[int]:
    """Where windows begin along one side: every int(2/3 window) pixels, the last one shifted inwards."""
    if length <= window:
        return [0]
    starts = list(range(0, length - window, int(window * 2 / 3)))
    return [*starts, length - window]


def predict_sliding(network: nn.Module, image: Tensor, *, window: int, num_classes: int) -> Tensor:
    """Classes (1, H, W): argmax of the sum of softmax over all windows of an image (1, 3, H, W)."""
    height, width = image.shape[-2:]
    total = torch.zeros(1, num_classes, height, width, device=image.device)
    for top in window_starts(height, window=window):
        for left in window_starts(width, window=window):
            rows, columns = slice(top, top + window), slice(left, left + window)
            logits: Tensor = network(image[..., rows, columns])
            total[..., rows, columns] += logits.float().softmax(dim=1)
    return total.argmax(dim=1)
