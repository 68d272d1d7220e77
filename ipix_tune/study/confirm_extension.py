"""More seeds for a confirmation that has ended: `ipix-tune confirm STUDY --more-seeds N`.

An extension is a part of the plan, in `confirm/plan.json` before its first run. It may spend a part of the error that
the plan kept for it (`analysis.stats.confirm.error_schedule`), so that all verdicts together still err no more often
than they say."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from analysis.stats.confirm.error_schedule import MOST_EXTENDED
from analysis.stats.confirm.race_plan import RacePlan
from analysis.stats.confirm.seed_race import Judgement, judge
from ipix_tune.config.confirm_section import ConfirmError
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.storage.atomic import replace_bytes
from ipix_tune.study.confirm_plan import ARM, SEED, Confirmation


def judged(entries: Sequence[TrialRecord], plan: RacePlan, *, sign: int) -> Judgement:
    """The race on the confirmation's own record."""
    scores: dict[str, dict[int, float]] = {}
    failed = []
    for entry in entries:
        arm, number = str(entry.values.get(ARM)), int(str(entry.values.get(SEED, 0)))
        if entry.state == "complete":
            scores.setdefault(arm, {})[number] = entry.scores[max(entry.scores)]
        elif entry.state == "failed":
            failed.append((arm, number))
    barred = {str(entry.values.get(ARM)) for entry in entries if entry.broken}
    return judge(scores, plan, sign=sign, failed=failed, barred=barred)


def extended(found: Confirmation, entries: Sequence[TrialRecord], more: int, *, sign: int) -> Confirmation:
    """The confirmation with ``more`` seeds for every arm that is still open; nothing is written.

    Args:
        entries: of the confirmation's record.
        more: at least 1.
        sign: 1 if more of the objective is better, -1 if less is.

    Raises:
        ConfirmError: the confirmation has not ended, nothing is left that seeds could decide, or there would be more
            seeds than a plan may have.
    """
    now = judged(entries, found.plan, sign=sign)
    if not now.over:
        raise ConfirmError(
            f"--more-seeds {more}: the confirmation has not ended ({now.reason}); go on with --resume first, and "
            "extend the plan when its seeds are spent"
        )
    seeds = found.plan.seeds + more
    if seeds > MOST_EXTENDED:
        raise ConfirmError(
            f"--more-seeds {more}: the plan has {found.plan.seeds} seeds, and would have {seeds}; at most "
            f"{MOST_EXTENDED} in all are allowed: --more-seeds {MOST_EXTENDED - found.plan.seeds} or fewer"
            if found.plan.seeds < MOST_EXTENDED
            else f"--more-seeds {more}: the plan has {found.plan.seeds} seeds, the most that are allowed"
        )
    plan = dataclasses.replace(found.plan, extensions=(*found.plan.extensions, seeds))
    if judged(entries, plan, sign=sign).over:
        raise ConfirmError(f"--more-seeds {more}: nothing is left that more seeds could decide: {now.reason}")
    return dataclasses.replace(found, plan=plan)


def write_extension(found: Confirmation, file: Path) -> None:
    """Put the extended plan into ``file``, which `ipix_tune.study.confirm_plan.settled` wrote; all else in it stays."""
    data = json.loads(file.read_text())
    data["plan"]["extensions"] = list(found.plan.extensions)
    replace_bytes(file, json.dumps(data, indent=2).encode())
