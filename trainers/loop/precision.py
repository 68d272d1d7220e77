"""Autocast in bfloat16 and float16, and the scaling of losses that float16 needs."""

import torch
from torch import Tensor, nn

from trainers.common.errors import TrainingError
from trainers.config import PrecisionConfig
from trainers.loop.optim import clip

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
LOWEST_SCALE = 2.0**-10
"""A gradient that overflows at this scale too is not finite in itself."""


def autocast(device_type: str, amp: str) -> torch.autocast:
    """Forward passes as `precision.amp` has them."""
    return torch.autocast(device_type, dtype=_TYPES.get(amp, torch.bfloat16), enabled=amp != "off")


def precision_lines(config: PrecisionConfig, device: torch.device) -> list[str]:
    """What a user has to know of `precision.amp` on this device."""
    if device.type == "cpu":
        if config.amp != "fp16":
            return []
        return ["precision.amp: fp16 on a CPU is a rehearsal and slow; on a CPU take off or bf16"]
    if config.amp == "off":
        return []
    name = torch.cuda.get_device_name(device)
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    if config.amp == "bf16" and not native:
        return [f"warning: {name} has no bfloat16 and emulates it, slower than float32; set precision.amp: fp16"]
    if config.amp == "fp16" and native:
        return [f"precision.amp: fp16 on {name}, which has bfloat16: bf16 is as fast and needs no loss scaling"]
    return []


def precision_lines_here(config: PrecisionConfig) -> list[str]:
    """The same where a run is planned: nothing of GPUs on a machine without one, since trials may run elsewhere."""
    if config.device != "cpu" and not torch.cuda.is_available():
        return []
    return precision_lines(config, torch.device("cpu" if config.device == "cpu" else "cuda:0"))


class LossScaling:
    """PyTorch's `GradScaler` under `precision.amp: fp16`; otherwise it does nothing.

    float16 has no numbers below 6e-8, where gradients would become 0, and none above 65504. The loss is multiplied by a
    scale before the backward pass and gradients are divided by it after it. Where one of an optimiser's gradients is
    not finite, its step is left out and the scale halved; after 2,000 steps without that it is doubled. With several
    processes gradients are averaged before that, so that all of them leave out the same steps.
    """

    def __init__(self, amp: str, device: torch.device) -> None:
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
        self._one = torch.ones((), device=device)
        self._skipped = torch.zeros((), device=device)

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()

    def step(self, module: nn.Module, optimizer: torch.optim.Optimizer, *, clip_norm: float | None) -> None:
        """Gradients as they are without a scale, clipped; the optimiser's step where they are finite."""
        if self.scaler.is_enabled() and all(one.grad is None for one in module.parameters()):
            return  # the scaler takes an optimiser without gradients for a mistake
        self.scaler.unscale_(optimizer)
        clip(module, clip_norm)
        self.scaler.step(optimizer)

    def update(self) -> None:
        """After the steps of all optimisers. The host waits for nothing."""
        if self.scaler.is_enabled():
            before = self.scaler.scale(self._one)
            self.scaler.update()
            self._skipped += self.scaler.scale(self._one) < before

    def of_epoch(self) -> dict[str, float]:
        """Metrics since the last call.

        Raises:
            TrainingError: gradients are not finite at any scale.
        """
        if not self.scaler.is_enabled():
            return {}
        scale, skipped = self.scaler.get_scale(), float(self._skipped)
        self._skipped.zero_()
        if scale < LOWEST_SCALE:
            raise TrainingError(
                f"gradients are NaN or infinite at every loss scale (now {scale:g}): that is no overflow of float16; a "
                "lower optim.lr or an optim.clip_norm may help, or precision.amp: off"
            )
        return {"train/skipped_steps": skipped, "train/loss_scale": scale}

    def state_dict(self) -> dict[str, float]:
        """Empty without a scale."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, float]) -> None:
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state)
