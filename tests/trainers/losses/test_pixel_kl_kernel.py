"""The Triton kernels against the block-by-block form: interpreted on a CPU, and compiled on a GPU."""

import os
import subprocess
import sys

import pytest
import torch

CASES = [(2, 3, 10, 4.0), (1, 2, 9000, 1.0), (3, 1, 1025, 16.0)]


def problem(batch, channels, pixels, *, device, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(2, batch, channels, pixels, generator=generator)).to(dtype)
    domain = torch.rand(batch, pixels, generator=generator) < 0.8
    omega = domain & (torch.rand(batch, pixels, generator=generator) < 0.5)
    omega[:, :2] = domain[:, :2] = True
    return [one.to(device) for one in (student, teacher, omega, domain)]


def compare(device):
    from trainers.losses import pixel_kl_kernel as kernel
    from trainers.losses.pixel_softmax import PixelKl

    for batch, channels, pixels, temperature in CASES:
        student, teacher, omega, domain = problem(batch, channels, pixels, device=device)
        reference = student.detach().cpu().double().requires_grad_()
        others = teacher.cpu().double(), omega.cpu(), domain.cpu()
        expected = PixelKl.apply(reference, *others, temperature)
        weights = torch.linspace(0.5, 2, batch, dtype=torch.float64)
        (expected * weights).sum().backward()
        value, log_p, log_q, mass = kernel.forward(student, teacher, omega, domain, temperature)
        torch.testing.assert_close(value.mean(dim=1).cpu().double(), expected.detach(), rtol=1e-4, atol=1e-6)
        slope = (weights / (temperature * channels)).float().to(device)[:, None].expand(-1, channels)
        found = kernel.backward(student, teacher, omega, domain, log_p, log_q, mass, slope, temperature)
        torch.testing.assert_close(found.cpu().double(), reference.grad, rtol=1e-4, atol=1e-7)


def test_interpreted_on_a_cpu_the_kernels_give_value_and_gradient_of_the_blocks():
    code = "from tests.trainers.losses.test_pixel_kl_kernel import compare; compare('cpu')"
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.gpu
def test_on_a_gpu_the_kernels_give_value_and_gradient_of_the_blocks():
    compare("cuda")


@pytest.mark.gpu
def test_on_a_gpu_the_loss_takes_the_kernels_and_agrees_with_the_cpu():
    from trainers.losses.pixel_softmax import PixelKl

    for batch, channels, pixels, temperature in CASES:
        student, teacher, omega, domain = problem(batch, channels, pixels, device="cuda")
        student.requires_grad_()
        PixelKl.apply(student, teacher, omega, domain, temperature).sum().backward()
        own = student.detach().cpu().requires_grad_()
        PixelKl.apply(own, teacher.cpu(), omega.cpu(), domain.cpu(), temperature).sum().backward()
        torch.testing.assert_close(student.grad.cpu(), own.grad, rtol=1e-3, atol=1e-7)
