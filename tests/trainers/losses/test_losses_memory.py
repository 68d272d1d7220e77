"""What the pixel losses hold: counted allocations, not time."""

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.helpers.step_plain import plain_kl, plain_nll
from trainers.losses.functional import pixel_nll
from trainers.losses.pixel_softmax import PixelKl, PixelPearson


def peak_maps(loss, student):
    """The most that forward and backward hold at a time above the logits, in maps of the logits' size."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        loss().sum().backward()
    held = most = 0
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most / (student.numel() * 4)


def logits():
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 4, 21, 65 * 65, generator=generator) * 3
    omega = torch.rand(4, 65 * 65, generator=generator) < 0.8
    return student.requires_grad_(), teacher, omega


def test_the_inter_pixel_loss_needs_under_a_third_of_the_formulas_memory():
    student, teacher, omega = logits()
    formula = peak_maps(lambda: plain_kl(student, teacher, omega, omega, 4.0), student)
    student.grad = None
    assert peak_maps(lambda: PixelKl.apply(student, teacher, omega, omega, 4.0), student) < formula / 3


def test_the_correlation_holds_little_more_than_its_gradient():
    student, teacher, omega = logits()
    assert peak_maps(lambda: PixelPearson.apply(student, teacher, omega, omega, 4.0), student) < 5


def test_the_cross_entropy_keeps_no_map_between_forward_and_backward():
    student = logits()[0].detach().view(4, 21, 65, 65).requires_grad_()
    labels = torch.randint(0, 21, (4, 65, 65))
    with torch.autograd.graph.saved_tensors_hooks(lambda one: sizes.append(one.numel()) or one, lambda one: one):
        sizes = []
        pixel_nll(student, labels)
        ours = sorted(sizes)
        sizes.clear()
        plain_nll(student, labels)
    assert [size for size in ours if size == student.numel()] == [student.numel()]  # the logits themselves
    assert sum(ours) <= sum(sizes)
