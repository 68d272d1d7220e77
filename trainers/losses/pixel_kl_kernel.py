"""Triton kernels of `PixelKl`: one pass over teacher and student for all sums (an online softmax), and one for the
gradient from the saved normalisers. Memory is what bounds them: each logit is read once in either pass.

A row is one class channel of one image; rows are cut into pieces so that a GPU is busy also with few of them, and the
pieces' sums are put together by ordinary operations. Logits are read in their own type, and computed in float32.
"""

# Triton reads the kernels' arguments as pointers and numbers: Python's types say nothing of them.
# ruff: noqa: ANN001, ANN202
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

import torch
import triton
import triton.language as tl
from torch import Tensor

PIECE = 8192
"""Pixels of a row that one program goes through."""
STEP = 1024
"""Pixels that it holds at a time."""
SUMS = 6
"""Per piece: largest p, sum exp p, of it on omega, sum exp p (p - q) on omega, largest q, sum exp q."""


@triton.jit
def _forward(
    teacher, student, omega, domain, sums, pixels, channels, inverse_t, PIECE: tl.constexpr, STEP: tl.constexpr
):
    row, piece = tl.program_id(0), tl.program_id(1)
    image = row // channels
    top_p = tl.full((), float("-inf"), tl.float32)
    top_q = tl.full((), float("-inf"), tl.float32)
    total_p = tl.zeros((), tl.float32)
    total_q = tl.zeros((), tl.float32)
    on_omega = tl.zeros((), tl.float32)
    apart = tl.zeros((), tl.float32)
    for begin in range(0, PIECE, STEP):
        place = piece * PIECE + begin + tl.arange(0, STEP)
        inside = place < pixels
        in_domain = tl.load(domain + image.to(tl.int64) * pixels + place, mask=inside, other=0) != 0
        in_omega = tl.load(omega + image.to(tl.int64) * pixels + place, mask=inside, other=0) != 0
        p = tl.load(teacher + row.to(tl.int64) * pixels + place, mask=inside, other=0.0).to(tl.float32) * inverse_t
        q = tl.load(student + row.to(tl.int64) * pixels + place, mask=inside, other=0.0).to(tl.float32) * inverse_t
        difference = tl.where(in_omega, p - q, 0.0)
        p = tl.where(in_domain, p, float("-inf"))
        q = tl.where(in_domain, q, float("-inf"))
        new_p = tl.maximum(top_p, tl.max(p, 0))
        new_q = tl.maximum(top_q, tl.max(q, 0))
        shift_p = tl.where(new_p == float("-inf"), 0.0, new_p)
        shift_q = tl.where(new_q == float("-inf"), 0.0, new_q)
        keep_p = tl.exp(top_p - shift_p)
        weight = tl.exp(p - shift_p)
        weight_omega = tl.where(in_omega, weight, 0.0)
        total_p = total_p * keep_p + tl.sum(weight, 0)
        on_omega = on_omega * keep_p + tl.sum(weight_omega, 0)
        apart = apart * keep_p + tl.sum(weight_omega * difference, 0)
        total_q = total_q * tl.exp(top_q - shift_q) + tl.sum(tl.exp(q - shift_q), 0)
        top_p, top_q = new_p, new_q
    at = sums + (row * tl.num_programs(1) + piece) * 6
    tl.store(at, top_p)
    tl.store(at + 1, total_p)
    tl.store(at + 2, on_omega)
    tl.store(at + 3, apart)
    tl.store(at + 4, top_q)
    tl.store(at + 5, total_q)


@triton.jit
def _backward(teacher, student, omega, domain, rows, gradient, pixels, channels, inverse_t, STEP: tl.constexpr):
    row = tl.program_id(0)
    place = tl.program_id(1) * STEP + tl.arange(0, STEP)
    inside = place < pixels
    image = row // channels
    log_p = tl.load(rows + row * 4)
    log_q = tl.load(rows + row * 4 + 1)
    mass = tl.load(rows + row * 4 + 2)
    slope = tl.load(rows + row * 4 + 3)
    in_domain = tl.load(domain + image.to(tl.int64) * pixels + place, mask=inside, other=0) != 0
    in_omega = tl.load(omega + image.to(tl.int64) * pixels + place, mask=inside, other=0) != 0
    p = tl.load(teacher + row.to(tl.int64) * pixels + place, mask=inside, other=0.0).to(tl.float32) * inverse_t
    q = tl.load(student + row.to(tl.int64) * pixels + place, mask=inside, other=0.0).to(tl.float32) * inverse_t
    of_q = tl.where(in_domain, tl.exp(q - log_q) * mass, 0.0)
    of_p = tl.where(in_omega, tl.exp(p - log_p), 0.0)
    tl.store(gradient + row.to(tl.int64) * pixels + place, (of_q - of_p) * slope, mask=inside)


def forward(
    student: Tensor, teacher: Tensor, omega: Tensor, domain: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The value (B, C), and log normalisers of teacher and student and the teacher's mass on omega, (B, C) each.

    Args:
        student, teacher: (B, C, N), contiguous.
        omega, domain: (B, N) bool, contiguous.
    """
    batch, channels, pixels = student.shape
    pieces = triton.cdiv(pixels, PIECE)
    sums = torch.empty(batch * channels, pieces, SUMS, device=student.device)
    _forward[(batch * channels, pieces)](
        teacher, student, omega, domain, sums, pixels, channels, 1 / temperature, PIECE=PIECE, STEP=STEP
    )
    top_p, total_p, on_omega, apart, top_q, total_q = sums.unbind(2)
    highest_p, highest_q = top_p.amax(dim=1, keepdim=True), top_q.amax(dim=1, keepdim=True)
    share = (top_p - highest_p).exp()
    whole_p = (total_p * share).sum(dim=1)
    whole_q = (total_q * (top_q - highest_q).exp()).sum(dim=1)
    log_p, log_q = highest_p[:, 0] + whole_p.log(), highest_q[:, 0] + whole_q.log()
    mass = (on_omega * share).sum(dim=1) / whole_p
    value = (apart * share).sum(dim=1) / whole_p - mass * (log_p - log_q)
    shape = (batch, channels)
    return value.view(shape), log_p.view(shape), log_q.view(shape), mass.view(shape)


def backward(
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
    """The gradient by the student's logits, in their type; ``slope`` (B, C) is that of what `forward` gave, over t."""
    batch, channels, pixels = student.shape
    rows = torch.stack([log_p, log_q, mass, slope], dim=2).view(-1, 4).contiguous()
    gradient = torch.empty_like(student)
    _backward[(batch * channels, triton.cdiv(pixels, STEP))](
        teacher, student, omega, domain, rows, gradient, pixels, channels, 1 / temperature, STEP=STEP
    )
    return gradient
