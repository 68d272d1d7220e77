"""The templates of the pages, in `analysis/page/templates/`."""

from collections.abc import Callable
from typing import Any


def rendered(template: str, *, filters: dict[str, Callable[..., Any]], **shown: Any) -> str:
    """A page's text.

    Args:
        template: its file.
        filters: functions that the template uses by name.
        shown: what the template is given.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("analysis.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(**shown)
