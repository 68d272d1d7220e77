"""`tables/classes.csv`: the IoU of every class, by its name, of the configurations that ran at full budget."""

import csv
from pathlib import Path
from statistics import fmean

from analysis.compute.atomic import replacing
from analysis.ingest.tables import FOLDER, Tables
from analysis.stats.configuration_means import results
from analysis.stats.study import StudyTrials

FILE = "classes.csv"


def write_classes(study: StudyTrials, tables: Tables, study_dir: Path) -> None:
    """Whole or not at all. A row a configuration, in the order of `results.csv`; a column a class: the mean over its
    runs of the IoU in percent in their last epoch, empty where none of them scored the class."""
    names = tables.facts.get("classes") or []
    columns = {name: f"val/iou/{index}" for index, name in enumerate(names)}
    wanted = [column for column in columns.values() if column in tables.history.column_names]
    ends = {
        row["run_id"]: row
        for row in tables.history.select(["run_id", "epoch", *wanted]).to_pylist()
        if row["epoch"] == study.max_epochs
    }
    folder = study_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / FILE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rank", "trials", *names])
        for rank, one in enumerate(results(study), 1):
            runs = [ends.get(trial.run_id, {}) for trial in one.trials]
            found = [[run[column] for run in runs if run.get(column) is not None] for column in columns.values()]
            numbers = " ".join(str(trial.number) for trial in one.trials)
            writer.writerow([rank, numbers, *(fmean(values) if values else None for values in found)])
