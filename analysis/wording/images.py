"""What the report says of single images and of the winner's training."""

from collections.abc import Mapping, Sequence

from analysis.stats.per_image import ImageChanges


def say_images(found: ImageChanges) -> str:
    """On how many images which configuration is better."""
    count, called = len(found.images), f"{found.first.called[0].upper()}{found.first.called[1:]}"
    equal = count - found.better - found.worse
    seeds = "their means over the shared seeds" if found.seeds > 1 else "one seed of each, so provisional"
    return (
        f"{called} is better than {found.second.called} on {found.better} of {count} held-out images, "
        f"worse on {found.worse} and equal on {equal} (IoU of an image's own classes, {seeds}). The median change is "
        f"{found.median:+.1f} points; the largest gain is {found.images[0].change:+.1f}, the largest loss "
        f"{found.images[-1].change:+.1f}."
    )


def say_shown(found: ImageChanges, *, gains: int, losses: int, with_pictures: int) -> str:
    """What the figure shows, and from which images it was chosen."""
    seeds = f" The pictures are of the first of {found.seeds} shared seeds." if found.seeds > 1 else ""
    return (
        f"Shown are the {gains} images with the largest gains and the {losses} with the largest losses of the "
        f"{with_pictures} that runs keep pictures of. Last column: green where only {found.first.called} is right, red "
        f"where only {found.second.called} is, grey where both are wrong.{seeds}"
    )


def say_training(called: str, terms: Sequence[str], omega: float | None, rest: Mapping[str, float]) -> str:
    """Loss terms at the end and the share of Omega."""
    text = f"Loss terms of {called} before their weights, and how they fell: {', '.join(terms)}."
    if omega is not None:
        text += (
            f" At the end {100 * omega:.0f} % of the pixels were in Omega, where the teacher is sure enough for the "
            "inter-pixel loss."
        )
    if rest:
        low = min(rest, key=lambda name: rest[name])
        text += f" The class with the lowest IoU is {low} ({rest[low]:.1f})."
    return text
