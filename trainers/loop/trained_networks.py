"""The networks that a run trains, each with its optimiser, and the loss scale that they share."""

from typing import Any

import torch
from torch import Tensor, nn

from trainers.common.errors import TrainingError
from trainers.config import TrainConfig
from trainers.interface.method import AuxiliaryModule, Method
from trainers.loop.compile import compile_networks
from trainers.loop.optim import build_optimizer, set_lr
from trainers.loop.precision import LossScaling
from trainers.loop.process_group import Process
from trainers.models.interface import SegmentationModel
from trainers.models.noise import noise_of


class TrainedNetworks:
    """The student and what the method trains beside it, by name.

    Args:
        student: the network, on the process's device.
        method: says what else is trained.
        config: of the run.
        process: this process among those of the run.
    """

    def __init__(self, student: SegmentationModel, method: Method, config: TrainConfig, process: Process) -> None:
        self._config, self._process = config.optim, process
        self.wrapped: nn.Module = process.wrapped(student)
        """The student as the method forwards it: within DDP where there are several processes."""
        self._companions = method.trained()
        self.trained = {"student": AuxiliaryModule(module=student, backbone=student.backbone), **self._companions}
        compile_networks(
            dict.fromkeys([one.module for one in self.trained.values()] + list(method.networks().values())),
            config.precision.compile,
        )
        self.noisy = any(noise_of(one.module) for one in self.trained.values())
        """Whether one has dropout, which draws from torch's global generator."""
        self.restart()
        self.scaling = LossScaling(config.precision.amp, process.device)

    def restart(self) -> None:
        """Begin with fresh optimisers."""
        self.optimizers = {
            name: build_optimizer(
                one.module,
                one.backbone,
                self._config,
                adam_lr=one.adam_lr,
                adam_betas=one.adam_betas,
                sgd_lr=one.sgd_lr,
            )
            for name, one in self.trained.items()
        }

    def begin_step(self, factor: float) -> float:
        """Set the learning rates, without gradients yet; returns the student's.

        Args:
            factor: of the schedule, by which each optimiser's own rate is multiplied.
        """
        rate = 0.0
        for optimizer in reversed(self.optimizers.values()):
            rate = set_lr(optimizer, factor)
            optimizer.zero_grad(set_to_none=True)
        return rate

    def end_step(self) -> None:
        """Average, clip and take the steps, once all backward passes are done."""
        self.average_companions()
        for name, optimizer in self.optimizers.items():
            self.scaling.step(self.trained[name].module, optimizer, clip_norm=self._config.clip_norm)
        self.scaling.update()

    def average_companions(self) -> None:
        """After the backward pass: the gradients of what trains beside the student become those of all processes, where
        DDP has not made them so."""
        for one in self._companions.values():
            if not one.in_ddp:
                self._process.average_gradients(one.module.parameters())

    def check(self, *, step: int, epoch: int) -> None:
        """See that all weights are finite. A gradient that is not shows in the loss of the next step only; after the
        last step of an epoch it would reach the checkpoint.

        Args:
            step: the last one, from 0.
            epoch: the one that it ends, from 1.

        Raises:
            TrainingError: on every process.
        """
        weights = [parameter.detach() for one in self.trained.values() for parameter in one.module.parameters()]
        finite = torch.stack([weight.isfinite().all() for weight in weights]).all()
        if not bool(finite):
            raise TrainingError(
                f"the weights are NaN or infinite after step {step} (epoch {epoch}), and its losses were not: "
                "a gradient was; a lower optim.lr or an optim.clip_norm may help"
            )

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of each network."""
        return {name: one.module.state_dict() for name, one in self.trained.items()}

    def load_weights(self, state: dict[str, Any]) -> None:
        """Load what :meth:`weights` gave."""
        for name, one in self.trained.items():
            one.module.load_state_dict(state[name])
