"""Object storage behind a URI (s3://, gs://, abfs://, file:///), through pyarrow's file systems."""

import re
from typing import Any
from urllib.parse import parse_qsl

from trainers.common.errors import ConfigError

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "file")
WAIT_S = 60.0
"""How long a request that fails is tried again."""

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_uri(text: str) -> bool:
    """Whether this names a place in an object storage, and not a path."""
    return _URI.match(text) is not None


def open_uri(uri: str, *, key: str) -> tuple[Any, str]:
    """pyarrow's file system and the path in it; no request is made.

    Args:
        uri: such as s3://bucket/folder?region=eu-central-1.
        key: the config key that holds it, for errors.

    Raises:
        ConfigError: it is no URI that pyarrow takes, or pyarrow is missing.
    """
    try:
        from pyarrow import fs
    except ImportError:
        raise ConfigError(f"{key} = {without_query(uri)}: object storage needs pyarrow: pip install pyarrow") from None
    found = _URI.match(uri)
    scheme = "" if found is None else found[1].lower()
    if scheme not in SCHEMES:
        raise ConfigError(
            f"{key} = {without_query(uri)}: {scheme}:// is not known; give a path, or one of {', '.join(SCHEMES)}"
        )
    try:
        system, path = fs.FileSystem.from_uri(_with_delayed_open(uri) if scheme == "s3" else uri)
    except (ValueError, OSError, NotImplementedError) as error:
        raise ConfigError(f"{key} = {without_query(uri)}: {reason(error)}") from None
    return system, str(path).rstrip("/")


def _with_delayed_open(uri: str) -> str:
    """A small object is then one request, whole or not at all, instead of the three of an upload in parts."""
    head, _, query = uri.partition("?")
    if "allow_delayed_open" in dict(parse_qsl(query)):
        return uri
    return f"{head}?{query}{'&' if query else ''}allow_delayed_open=true"


def without_query(uri: str) -> str:
    """The URI as it is shown and told apart: endpoint, region and access keys are left out."""
    scheme, mark, rest = uri.partition("?")[0].rstrip("/").partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2] if mark else rest}"


def reason(error: BaseException) -> str:
    """The first line of what a storage said."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
