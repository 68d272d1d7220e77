"""KL divergence and Pearson correlation between softmaxes over pixels, for every image and channel, as autograd
functions that keep nothing of a map's size: values and gradients are computed block by block, the gradient from the
logits and their saved normalisers.

Shapes: logits (B, C, N), ``omega`` and ``domain`` (B, N) bool, omega inside domain, neither empty in any image. The
softmaxes P of the teacher's and Q of the student's logits / t run over ``domain``, sums over ``omega``. Float64 is
kept, everything else is computed in float32; the gradient has the student's type, rounded once.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from trainers.common.float32 import exact

BLOCK = {"cpu": 2**17, "cuda": 2**24}
"""Values of a map that are worked on at a time: what fits into a core's cache, or keeps a GPU busy."""
CR_EPS = 1e-8
"""Added to the product of norms, after both vectors were multiplied by |Omega|."""


class PixelKl(torch.autograd.Function):
    """sum over omega of P (log P - log Q), mean over channels: (B,). On a GPU by kernels of its own."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, omega: Tensor, domain: Tensor, temperature: float
    ) -> Tensor:
        if _has_kernel(student):
            from trainers.losses import pixel_kl_kernel

            student, teacher = student.contiguous(), teacher.contiguous()
            value, log_p, log_q, mass = pixel_kl_kernel.forward(student, teacher, omega, domain, temperature)
        else:
            value, log_p, log_q, mass = _kl(student, teacher, omega, domain, temperature)
        ctx.save_for_backward(student, teacher, omega, domain, log_p, log_q, mass)
        ctx.temperature = temperature
        return value.mean(dim=1)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None, None]:
        student, teacher, omega, domain, log_p, log_q, mass = ctx.saved_tensors
        slope = (slopes[0][:, None] / (ctx.temperature * student.shape[1])).expand(-1, student.shape[1])
        by_logits = _kl_by_logits
        if _has_kernel(student):
            from trainers.losses import pixel_kl_kernel

            by_logits = pixel_kl_kernel.backward
        gradient = by_logits(student, teacher, omega, domain, log_p, log_q, mass, slope, ctx.temperature)
        return gradient, None, None, None, None


def _kl(
    student: Tensor, teacher: Tensor, omega: Tensor, domain: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The value, the logs of the normalisers of P and Q, and P's mass on omega, (B, C) each."""
    value, normaliser_p, normaliser_q, mass = (
        torch.empty(student.shape[:2], dtype=exact(student[:0]).dtype, device=student.device) for _ in range(4)
    )
    for at in _blocks(student):
        p, top_p = _shifted(teacher[at], domain[at[0]], temperature)
        q, top_q = _shifted(student[at], domain[at[0]], temperature)
        weight = p.exp()
        total_p = weight.sum(dim=2)
        apart = p.sub_(q).masked_fill_(~omega[at[0]][:, None], 0.0)
        if omega is domain:
            mass[at] = 1.0
        else:
            mass[at] = weight.masked_fill_(~omega[at[0]][:, None], 0.0).sum(dim=2) / total_p
        log_p, log_q = total_p.log(), q.exp_().sum(dim=2).log()
        value[at] = apart.mul_(weight).sum(dim=2) / total_p - mass[at] * (log_p - log_q)
        normaliser_p[at], normaliser_q[at] = top_p + log_p, top_q + log_q
    return value, normaliser_p, normaliser_q, mass


def _kl_by_logits(
    student: Tensor,
    teacher: Tensor,
    omega: Tensor,
    domain: Tensor,
    log_p: Tensor,
    log_q: Tensor,
    mass: Tensor,
    slope: Tensor,
    temperature: float,
) -> Tensor:
    """slope (Q mass - P on omega) in the domain, 0 elsewhere; ``slope`` (B, C)."""
    gradient = torch.empty_like(student, memory_format=torch.contiguous_format)
    for at in _blocks(student):
        p = _softmax(teacher[at], log_p[at], temperature)
        q = _softmax(student[at], log_q[at], temperature)
        if omega is not domain:
            p.masked_fill_(~omega[at[0]][:, None], 0.0)
        q.mul_((mass[at] * slope[at])[..., None]).addcmul_(p, slope[at][..., None], value=-1)
        gradient[at] = q.masked_fill_(~domain[at[0]][:, None], 0.0)
    return gradient


class PixelPearson(torch.autograd.Function):
    """1 - correlation of P and Q over omega, mean over channels (B,); 0 where either is constant.

    Entries of P and Q are about 1 / |Omega|, so that a fixed eps would swallow them: both are taken times |Omega|,
    less a constant, which leaves the correlation as it is. Where it is near 1 or -1, its slope is a small difference
    of large terms; the distance between unit vectors has it without these.
    """

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, omega: Tensor, domain: Tensor, temperature: float
    ) -> Tensor:
        value = exact(student.new_empty(0)).new_empty(student.shape[:2])
        for at in _blocks(student):
            parts = _Correlation(student[at], teacher[at], omega[at[0]], domain[at[0]], temperature)
            value[at] = parts.distance
        ctx.save_for_backward(student, teacher, omega, domain)
        ctx.temperature = temperature
        return value.mean(dim=1)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None, None]:
        student, teacher, omega, domain = ctx.saved_tensors
        slope = slopes[0][:, None, None] / (ctx.temperature * student.shape[1])
        gradient = torch.empty_like(student, memory_format=torch.contiguous_format)
        for at in _blocks(student):
            parts = _Correlation(student[at], teacher[at], omega[at[0]], domain[at[0]], ctx.temperature)
            gradient[at] = parts.by_logits().mul_(slope[at[0]])
        return gradient, None, None, None, None


class _Correlation:
    """Correlation distance of one block: (b, c, N) logits, (b, N) masks."""

    def __init__(self, student: Tensor, teacher: Tensor, omega: Tensor, domain: Tensor, temperature: float) -> None:
        self._outside, self._domain = ~omega[:, None], domain
        self._logits, self._temperature = student, temperature
        count = omega.sum(dim=1)[:, None].to(exact(student.new_empty(0)).dtype)
        self._count = count
        of_domain = (count / domain.sum(dim=1)[:, None])[..., None]
        p, constant_p = self._centred(_flattened(teacher, domain, temperature).mul_(of_domain))
        q, constant_q = self._centred(_flattened(student, domain, temperature).mul_(of_domain))
        self._constant = constant_p | constant_q
        self._norm_p, self._norm_q = (
            torch.where(self._constant, 1.0, values.square().sum(dim=2).sqrt()) for values in (p, q)
        )
        p.div_(self._norm_p[..., None])
        self._q = q.div_(self._norm_q[..., None])
        self._sign = torch.where((p * q).sum(dim=2) < 0, -1.0, 1.0).to(p.dtype)
        self._apart = p.sub_(self._sign[..., None] * q)
        self._half = self._apart.square().sum(dim=2) / 2
        self._norms = self._norm_p * self._norm_q + CR_EPS
        self._share = 1 - CR_EPS / self._norms
        self.distance = (1 - self._sign * (1 - self._half) * self._share).masked_fill_(self._constant, 0.0)

    def _centred(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Less their mean over omega, 0 outside, and whether rounding alone could have made them differ (b, c)."""
        values.masked_fill_(self._outside, 0.0)
        each = (torch.finfo(values.dtype).eps * values.abs().amax(dim=2)).clamp(min=torch.finfo(torch.float64).eps)
        mean = values.sum(dim=2) / self._count
        centred = values.sub_(mean[..., None]).masked_fill_(self._outside, 0.0)
        return centred, centred.square().sum(dim=2) <= self._count * (32 * each).square()

    def by_logits(self) -> Tensor:
        """t times the derivative of ``distance`` by the student's logits (b, c, N)."""
        by_norm = self._sign * (1 - self._half) * CR_EPS * self._norm_p / self._norms.square()
        along = self._share * self._sign * self._half / self._norm_q + by_norm
        across = (self._share / self._norm_q).masked_fill(self._constant, 0.0)
        slope = self._apart.mul_(-across[..., None])
        slope.addcmul_(self._q, -along.masked_fill(self._constant, 0.0)[..., None])
        q, _ = _shifted(self._logits, self._domain, self._temperature)
        q.exp_()
        q.mul_((self._count / q.sum(dim=2))[..., None])
        mean = (slope * q).sum(dim=2) / self._count
        return slope.sub_(mean[..., None]).mul_(q)


def _has_kernel(student: Tensor) -> bool:
    """On a GPU, but for float64."""
    return student.is_cuda and student.dtype != torch.float64


def _blocks(logits: Tensor) -> Iterator[tuple[slice, slice]]:
    """Images and channels that are worked on together: some whole images, or some channels of one."""
    batch, channels, pixels = logits.shape
    size = BLOCK.get(logits.device.type, BLOCK["cuda"])
    images = max(1, size // (channels * pixels))
    width = channels if channels * pixels <= size else max(1, size // pixels)
    for image in range(0, batch, images):
        for channel in range(0, channels, width):
            yield slice(image, image + images), slice(channel, channel + width)


def _shifted(logits: Tensor, domain: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """logits / t less their largest in the domain, -inf outside it (a new tensor), and that largest (b, c)."""
    shifted = exact(logits).div(temperature).masked_fill_(~domain[:, None], -torch.inf)
    top = shifted.amax(dim=2)
    return shifted.sub_(top[..., None]), top


def _softmax(logits: Tensor, normaliser: Tensor, temperature: float) -> Tensor:
    """exp(logits / t - normaliser); unbounded outside the domain."""
    softmax: Tensor = torch.add(-normaliser[..., None], exact(logits), alpha=1 / temperature)
    return softmax.exp_()


def _flattened(logits: Tensor, domain: Tensor, temperature: float) -> Tensor:
    """The softmax over the domain, times its number of pixels, less a constant for each image and channel; 0 outside.

    Where the logits are nearly alike, which a high temperature makes of any, the entries are nearly 1, and what differs
    would be rounded: there 1 is left out, and the rest computed from the logits' own differences.
    """
    outside, count = ~domain[:, None], domain.sum(dim=1)[:, None].to(exact(logits.new_empty(0)).dtype)
    shifted, _ = _shifted(logits, domain, temperature)
    steep = shifted.exp()
    steep.mul_((count / steep.sum(dim=2))[..., None])
    shifted.masked_fill_(outside, 0.0)
    shifted.sub_((shifted.sum(dim=2) / count)[..., None]).masked_fill_(outside, 0.0)
    near = shifted.abs().amax(dim=2) < 1
    small = shifted.clamp_(-1, 1)
    flat = small.sub_((small.expm1().sum(dim=2) / count).log1p()[..., None]).expm1_()
    return torch.where(near[..., None], flat, steep).masked_fill_(outside, 0.0)
