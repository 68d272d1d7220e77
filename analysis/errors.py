"""Errors that a user of the analysis can mend."""


class LogsError(ValueError):
    """The logs are missing or none of them can be read; the message says where and what to do."""
