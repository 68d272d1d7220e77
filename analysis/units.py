"""The unit of a score, and differences of scores with it."""


def amount(value: str, metric: str) -> str:
    """A difference of scores with its unit, such as: 0.3 mIoU; empty metric: the value alone."""
    if metric in ("val/miou", "val/recent/miou"):
        return f"{value} mIoU"
    if not metric:
        return value
    return f"{value} points of {metric}" if is_percent(metric) else f"{value} in {metric}"


def is_percent(metric: str) -> bool:
    """Whether a metric is a percentage, as those of intersection over union are."""
    return "iou" in metric
