"""Hyperparameter studies of semi-supervised segmentation, from Python.

    import ipix_tune

    study = ipix_tune.Study("search_spaces/digits.yaml", {"budget.trials": 8})
    print(study.plan())
    results = study.run()                    # or: while (trial := study.ask()) is not None: ...
    results.runs, results.verdicts, results.best_config, results.figures()

    results = ipix_tune.open_study("studies/voc")
    model = ipix_tune.load_model("runs/best-seed1")      # predict, evaluate, export_model take it

The names are loaded when they are first used, so that `import ipix_tune` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipix_tune.api.ask_tell import OwnTrial
    from ipix_tune.api.models import LoadedModel, evaluate, export_model, load_model, predict, write_predictions
    from ipix_tune.api.results import Results
    from ipix_tune.api.studies import Study, open_study

__all__ = [
    "LoadedModel",
    "OwnTrial",
    "Results",
    "Study",
    "evaluate",
    "export_model",
    "load_model",
    "open_study",
    "predict",
    "write_predictions",
]

_HOMES = {
    **{"OwnTrial": "ask_tell", "Results": "results", "Study": "studies", "open_study": "studies"},
    **dict.fromkeys(
        ("LoadedModel", "evaluate", "export_model", "load_model", "predict", "write_predictions"), "models"
    ),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"ipix_tune.api.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
