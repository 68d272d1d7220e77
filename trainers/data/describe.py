"""What a run reads, in lines for people: the same before a study, in its dry run, and before a single training."""

from trainers.data import DataConfig
from trainers.data.check import DataSummary, Masks
from trainers.data.layout import RGB_BANDS
from trainers.data.open import OpenData

CALLED = {"labelled": "labelled", "holdout": "held-out", "val": "validation"}
DARK = 64
"""Brightest value of all labelled images below which something is wrong with their depth."""
PLAIN_KINDS = {"RGB", "L"}


def data_lines(config: DataConfig, data: OpenData, summary: DataSummary) -> list[str]:
    """Counts, sizes, classes seen, and warnings about what is allowed and may still be wrong."""
    counts = ", ".join(f"{count} {name}" for name, count in summary.images.items() if count or name != "val")
    classes = ", ".join(
        f"{data.num_classes - len(summary.absent[name])} of {data.num_classes} in {CALLED[name]} images"
        for name, masks in summary.masks.items()
        if masks.count
    )
    lines = [f"{config.name}: {counts}; {data.num_classes} classes; split {summary.split_hash[:12]}"]
    lines += [f"images of {_sizes(summary)}; classes seen: {classes}"]
    lines += [
        f"no {CALLED[name]} image shows {', '.join(absent)}"
        for name, absent in summary.absent.items()
        if absent and summary.masks[name].count
    ]
    lines += [*_warnings(config, summary), *summary.odd_masks, *data.said]
    if summary.corrupt:
        lines.append(f"{len(summary.corrupt)} corrupt images will be skipped, first: {summary.corrupt[0]}")
    return lines


def _sizes(summary: DataSummary) -> str:
    sizes = sorted(summary.seen.sizes, key=lambda size: size[0] * size[1])
    if not sizes:
        return "unknown size"
    (low, left), (high, right) = sizes[0], sizes[-1]
    return f"{left} x {low}" + ("" if len(sizes) == 1 else f" to {right} x {high}") + " pixels"


def _warnings(config: DataConfig, summary: DataSummary) -> list[str]:
    seen, lines = summary.seen, []
    nowhere = set.intersection(*(set(absent) for absent in summary.absent.values()))
    for name, masks in summary.masks.items():
        classes_seen = sum(images > 0 for images in masks.images_with_class)
        unseen = summary.absent[name] and (classes_seen < 2 or nowhere)  # a short list may lack a class by chance
        if config.label_map is None and unseen and 2 * masks.with_ignored >= masks.count > 0:
            lines.append(_absent_beside_ignored(CALLED[name], summary.absent[name], masks))
        if masks.all_ignored:
            lines.append(
                f"warning: {masks.all_ignored} of {masks.count} {CALLED[name]} masks hold nothing but 255 = ignore"
            )
    if seen.turned:
        lines.append(
            f"{seen.turned} images are turned by their EXIF orientation, as viewers show them; a mask is turned only "
            "by an orientation of its own. Where masks were drawn on the pixels as stored, set data.exif: ignore"
        )
    if unusual := {kind: count for kind, count in seen.kinds.items() if kind not in PLAIN_KINDS}:
        how = "by data.value_range" if config.value_range else "by the full range of their kind"
        shown = ", ".join(f"{count} of {kind}" for kind, count in sorted(unusual.items()))
        deep = any("bit" in kind or "float" in kind for kind in unusual)
        bands = config.image_bands()
        become = "RGB of 8 bits" if bands == RGB_BANDS else f"{bands} bands of 16 bits"
        lines.append(f"images become {become}: {shown}{f' (depths above 8 bits {how})' if deep else ''}")
    if seen.brightest is not None and seen.brightest < DARK:
        lines.append(
            f"warning: no value of the labelled images is above {seen.brightest} of 255, they are nearly black; grey "
            "files of 16 bits that use fewer need data.value_range: [darkest, brightest], colour files of 16 bits are "
            "to be written with 8"
        )
    return lines


def _absent_beside_ignored(called: str, absent: tuple[str, ...], masks: Masks) -> str:
    two = len(masks.images_with_class) == 2 and len(absent) == 1
    there = 0 if masks.images_with_class[0] else 1
    example = f"{{{there}: {there}, 255: {1 - there}}}" if two else "{0: 0, 255: 1}"
    return (
        f"warning: no {called} image shows {', '.join(absent)}, while 255 = ignore covers "
        f"{100 * masks.ignored / masks.pixels:.2g} % of their pixels, in {masks.with_ignored} of {masks.count} masks: "
        f"where 255 stands for a class, say so, as in data.label_map: {example}"
    )
