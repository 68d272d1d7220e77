"""Errors that a user of the analysis can mend."""


class LogsError(ValueError):
    """The logs are missing or none of them can be read; the message says where and what to do."""


class PlanError(ValueError):
    """A comparison of arms that cannot be made as asked; the message names the field, the value and what is allowed."""
