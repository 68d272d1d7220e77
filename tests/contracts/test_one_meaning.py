"""One class name, one meaning: no two classes of the packages have the same name."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
OF_ONE_MEANING = {
    "LabelledLoss",  # what a step asks of the loss, and the loss
    "StudyCallback",  # the same callback, for two frameworks that do not know each other
}


def test_no_two_classes_have_one_name():
    places = defaultdict(list)
    for package in ("analysis", "ipix_tune", "trainers"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(file.relative_to(ROOT)))
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert twice.keys() == OF_ONE_MEANING, twice
