"""Trained networks, as `import ipix_tune` gives them."""

from trainers.inference.evaluate import evaluate
from trainers.inference.export import export_model
from trainers.inference.model import LoadedModel, load_model
from trainers.inference.predict import predict
from trainers.inference.write import write_predictions

__all__ = ["LoadedModel", "evaluate", "export_model", "load_model", "predict", "write_predictions"]
