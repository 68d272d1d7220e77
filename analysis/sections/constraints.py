"""Which trials broke a constraint of the study, and with what figure."""

from analysis.sections.section import ReportSection
from analysis.stats.study import StudyTrials
from analysis.wording.phrases import listed_trials


def constraint_sections(study: StudyTrials) -> list[ReportSection]:
    """None where no trial broke one."""
    found = [trial for trial in study.trials if trial.state == "infeasible"]
    if not found:
        return []
    count = len(found)
    return [
        ReportSection(
            title="Which trials broke a constraint?",
            reading=f"{listed_trials(count)} of {len(study.trials)} broke a constraint of the study and "
            f"{'was' if count == 1 else 'were'} stopped there: {'it is' if count == 1 else 'they are'} never the best, "
            "whatever the score.",
            figure=None,
            alt="",
            n=f"{len(study.trials)} trials",
            table=(
                ("trial", "constraint", "epochs", study.metric),
                *(
                    (
                        str(trial.number),
                        trial.error or "",
                        f"{trial.epochs}/{study.max_epochs}",
                        "–" if trial.score is None else f"{trial.score:.2f}",
                    )
                    for trial in found
                ),
            ),
        )
    ]
