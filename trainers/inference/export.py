"""`export_model`: a trained network as a program without this package, by torch.export, and as ONNX."""

import copy
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.common.atomic import replacing
from trainers.common.errors import ConfigError, OutputError
from trainers.common.float32 import exact
from trainers.inference.model import LoadedModel
from trainers.models.upsample import Upsample

TOLERANCE = 1e-4
"""Largest difference of a logit from the eager network's, as a share of the largest logit, of 1 where that is less."""
CHECKED_SIDE = 64
"""Pixels of the images that the export is checked on, or a little more."""


class Exportable(nn.Module):
    """The network with its normalisation: images (B, bands, H, W) float32 in 0 .. 1, RGB where three -> logits
    (B, C, H, W) float32. Upsampling by matrix products, which is quick and deterministic in training, is PyTorch's own
    `interpolate` here."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.network = copy.deepcopy(model.network).cpu().float()
        self.network.to(memory_format=torch.contiguous_format)
        self.mean = nn.Buffer(torch.tensor(model.mean)[:, None, None])
        self.std = nn.Buffer(torch.tensor(model.std)[:, None, None])
        _replace_upsampling(self.network)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


class _Interpolate(nn.Module):
    """What `Upsample` computes, as one operator that exporters know."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        if self.mode == "nearest":
            return F.interpolate(exact(features), size=size, mode="nearest")
        return F.interpolate(exact(features), size=size, mode="bilinear", align_corners=True)


def _replace_upsampling(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, Upsample):
            setattr(module, name, _Interpolate(child.mode))
        else:
            _replace_upsampling(child)


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """What was written.

    Args:
        sizes: which inputs it takes, in words.
        checks: how far its output is from the eager network's, in words, one for each file.
        refused: why it takes no more inputs than it does, where that is so.
    """

    sizes: str
    checks: tuple[str, ...]
    refused: tuple[str, ...]


def export_model(
    model: LoadedModel, out: Path, *, onnx: Path | None = None, size: tuple[int, int] | None = None
) -> ExportedModel:
    """Write the network to ``out`` (by `torch.export`; `torch.export.load` reads it), and to ``onnx``. Both take images
    in 0 .. 1 and normalise them; both are read again and compared with the eager network on images of other batches
    and, where they take them, other sizes.

    The batch is free, and so are the sides, in multiples of the model's, wherever torch.export can follow the network.

    Args:
        model: of `load_model`.
        out: a .pt2 file.
        onnx: an .onnx file; None: none is written.
        size: (height, width) that a program takes which cannot take any; None: those of the training's crop.

    Raises:
        ConfigError: ``size`` is none that the network takes; ONNX is asked for and its packages are not installed; the
            network cannot be exported; what was exported computes something else than the network.
        OutputError: a file cannot be written.
    """
    if onnx is not None and (missing := [one for one in ("onnx", "onnxscript") if not importlib.util.find_spec(one)]):
        raise ConfigError(f"--onnx: not installed here: {', '.join(missing)}; pip install 'ipix-tune[onnx]'")
    fixed = _fixed(model, size)
    eager = Exportable(model).eval().requires_grad_(False)
    refused: list[str] = []
    for sizes, dynamic, shapes in _attempts(model.input_multiple, fixed):
        try:
            traced = _images(model, shapes[0])
            program = torch.export.export(eager, (traced,), dynamic_shapes=(dynamic,), strict=False)
            difference = _compared(program.module(), eager, model, shapes)
        except Exception as error:  # of many kinds: the tracer's, the solver's of shapes, the operators'
            refused.append(f"not with {sizes}: {(str(error) or type(error).__name__).splitlines()[0][:200]}")
            continue
        break
    else:
        raise ConfigError(f"{model.path}: torch.export cannot follow this network: {refused[-1]}")
    _held(difference, out)
    facts = _facts(model, sizes)
    _written(out, lambda path: torch.export.save(program, path, extra_files={"model.json": facts}))
    again = _compared(torch.export.load(out).module(), eager, model, shapes)
    checks = [f"{out}: {_held(again, out)}"]
    if onnx is not None:
        _written(onnx, lambda path: _to_onnx(program, traced, facts, path))
        checks.append(f"{onnx}: {_held(_compared(_reference(onnx), eager, model, shapes), onnx)}")
    return ExportedModel(sizes=sizes, checks=tuple(checks), refused=tuple(refused))


_Shape = tuple[int, int, int]
"""Images, height, width."""


def _attempts(multiple: int, fixed: tuple[int, int]) -> Iterator[tuple[str, dict[int, Any], tuple[_Shape, ...]]]:
    """What may be free, from most to least, in words and as torch.export takes it; and the shapes that are tried, of
    which the first is traced."""
    free = torch.export.Dim.DYNAMIC
    step = 16 if multiple == 1 else multiple
    side = -(-CHECKED_SIDE // step) * step
    shapes = tuple(
        (count, side + more * step, side + wider * step)
        for count, more, wider in ((2, 0, 1), (1, 0, 1), (3, 0, 1), (1, 1, 0), (2, 3, 2))
    )
    if multiple == 1:
        yield "any batch and size", {0: free, 2: free, 3: free}, shapes
    else:
        for least in (1, 2):  # some decoders take a single row of patches for another case
            rows, columns = (multiple * torch.export.Dim(name, min=least, max=2**12) for name in ("rows", "columns"))
            smallest = (1, least * multiple, (least + 1) * multiple)
            words = f"any batch, and sides that are multiples of {multiple}"
            words += f" from {least * multiple} on" if least > 1 else ""
            yield words, {0: free, 2: rows, 3: columns}, (*shapes, smallest)
    yield f"any batch of {fixed[1]} x {fixed[0]} pixels", {0: free}, tuple((count, *fixed) for count in (2, 1, 3))


def _fixed(model: LoadedModel, size: tuple[int, int] | None) -> tuple[int, int]:
    """The size of a program that cannot take any."""
    step = model.input_multiple
    crop = -(-model.config.data.crop // step) * step
    height, width = size or (crop, crop)
    if height < 1 or width < 1 or height % step or width % step:
        raise ConfigError(f"--size {height}x{width}: this network's sides are multiples of {step}")
    return height, width


def _images(model: LoadedModel, shape: _Shape) -> Tensor:
    """Random images in 0 .. 1, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(shape[0], len(model.mean), *shape[1:], generator=generator)


@torch.no_grad()
def _compared(
    exported: Callable[[Tensor], Tensor], eager: Exportable, model: LoadedModel, shapes: Sequence[_Shape]
) -> tuple[float, float]:
    """The largest difference of a logit and the largest logit, over images of these shapes."""
    worst, largest = 0.0, 0.0
    for shape in shapes:
        images = _images(model, shape)
        # the loaded network itself, upsampled by its own products
        reference = model.network((images - eager.mean) / eager.std) if model.device.type == "cpu" else eager(images)
        worst = max(worst, float((exported(images) - reference).abs().max()))
        largest = max(largest, float(reference.abs().max()))
    return worst, largest


def _held(difference: tuple[float, float], path: Path) -> str:
    """How near the exported network is, in words. Raises ConfigError where it is too far away."""
    worst, largest = difference
    words = f"largest difference from the eager output {worst:.2g}, of logits up to {largest:.3g}"
    if not worst <= TOLERANCE * max(1.0, largest):
        raise ConfigError(f"{path}: not what the network computes: {words}; allowed is a share of {TOLERANCE:g}")
    return words


def _facts(model: LoadedModel, sizes: str) -> str:
    """What a program needs to know of the network, as JSON."""
    return json.dumps(
        {
            "input": f"images (B, {len(model.mean)}, H, W) float32 in 0 .. 1; normalised inside",
            "output": "logits (B, C, H, W) float32",
            "takes": sizes,
            "classes": list(model.classes),
            "mean": list(model.mean),
            "std": list(model.std),
            "input_multiple": model.input_multiple,
            "weights": model.digest(),
            "epoch": model.epoch,
        }
    )


def _written(path: Path, write: Callable[[Path], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            whole = temporary.with_name(f"{temporary.name}{path.suffix}")  # torch.export.save minds the ending
            write(whole)
            whole.replace(temporary)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _to_onnx(program: Any, traced: Tensor, facts: str, path: Path) -> None:
    import onnx

    made = torch.onnx.export(
        program, (traced,), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False
    )
    assert made is not None
    proto = made.model_proto
    onnx.helper.set_model_props(proto, {"model.json": facts})
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def _reference(path: Path) -> Callable[[Tensor], Tensor]:
    """The file, computed by ONNX's own reference evaluator."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    loaded = onnx.load(str(path))
    evaluator = ReferenceEvaluator(loaded)
    name = loaded.graph.input[0].name

    def computed(images: Tensor) -> Tensor:
        (logits,) = cast(list[Any], evaluator.run(None, {name: images.numpy()}))
        return torch.from_numpy(logits)

    return computed
