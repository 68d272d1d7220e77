"""The README's list of methods and networks, made from the registry and the model section."""

import inspect
import re
from typing import Any, get_args

from trainers.methods.registry import BUILDERS, MethodConfig
from trainers.models.model_config import Architecture, ModelConfig

BEGIN, END = "<!-- made by `ipix-tune schema` from the registry -->\n", "<!-- end -->\n"


def method_names() -> dict[str, str]:
    """What each `method.name` is called: the first sentence of its config's docstring."""
    sections = get_args(get_args(MethodConfig)[0])
    by_name = {get_args(section.model_fields["name"].annotation)[0]: section for section in sections}
    return {name: _called(by_name[name]) for name in BUILDERS}


def _called(section: Any) -> str:
    sentence = re.match(r"(.+?)\.(?= [A-Z]|$)", (inspect.getdoc(section) or "").splitlines()[0])
    assert sentence is not None, f"{section.__name__}: its docstring begins with the method's name and a full stop"
    return f"{sentence[1]}." if sentence[1].endswith(" al") else sentence[1]


def at_a_glance() -> str:
    """Markdown: methods, and networks."""
    methods = [f"{called} (`{name}`)" if called.lower() != name else called for name, called in method_names().items()]
    backbones = get_args(ModelConfig.model_fields["backbone"].annotation)
    sizes = get_args(ModelConfig.model_fields["size"].annotation)
    architectures = get_args(Architecture)
    return (
        f"**{len(methods)} methods** (`method.name`): {', '.join(methods)}.\n\n"
        f"**Networks** (`model.name`): DeepLabV3+ (`deeplabv3plus`) on {_either(backbones)}; DINOv2 with a DPT head\n"
        f"(`dinov2_dpt`), {_either(sizes)}; and `smp`, of segmentation_models.pytorch:\n"
        f"{_either(architectures)},\n"
        "on its encoders and timm's (ConvNeXt, Swin, MiT, EfficientNet, DINOv2 and others).\n"
    )


def _either(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"


def with_glance(readme: str) -> str:
    """The README with its list made anew."""
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{at_a_glance()}\n{END}{rest.partition(END)[2]}"
