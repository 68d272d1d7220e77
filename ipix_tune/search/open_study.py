"""Optuna's study in the record of a study: found there, or begun, and seen to be the one that belongs to the folder."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import optuna

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.storage.optuna_storage import open_record, told
from ipix_tune.storage.study_identity import check_record, identity
from ipix_tune.trainer.resources import Value


def open_study(
    folder: Path | None,
    study: StudyConfig,
    sampler: optuna.samplers.BaseSampler,
    *,
    points: Sequence[Mapping[str, Value]],
    letter: str,
    there: Collection[str],
) -> optuna.Study:
    """The record's study, with the points that are to be tried first.

    Args:
        folder: the study's folder; None: nothing is written, and the record ends with the process.
        study: the study file.
        sampler: what it asks for configurations.
        points: whole configurations; those that it knows already are not added again.
        letter: what the trials' keys begin with.
        there: names of the folders of trials that are there already.

    Raises:
        IdentityError: the record does not know one of them.
    """
    storage = open_record(folder, record=study.record)
    name = study.name if folder is None else identity(folder, study)
    begun = name in optuna.get_all_study_names(storage)
    if not begun and folder is not None:
        check_record(0, there, letter=letter, folder=folder, record=told(folder, record=study.record))
    if begun:  # creating it once more would add a record
        opened = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    else:
        directions = [one.direction for one in study.objective.each]
        opened = optuna.create_study(study_name=name, storage=storage, sampler=sampler, directions=directions)
    for point in points:
        opened.enqueue_trial(dict(point), skip_if_exists=True)
    if folder is not None:
        count = len(opened.get_trials(deepcopy=False))
        check_record(count, there, letter=letter, folder=folder, record=told(folder, record=study.record))
    return opened
