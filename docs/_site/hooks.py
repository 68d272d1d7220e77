"""Hooks of mkdocs: pages that are made from the code, files outside docs/, and a look at what the site would load."""

import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import command_page  # noqa: E402
import error_pages  # noqa: E402
import outside  # noqa: E402

LOADED = re.compile(
    r"""<(?:script|img|iframe|link[^>]*rel=.?(?:stylesheet|preconnect))[^>]*(?:src|href)=.?https?://[^\s>]+"""
)


def on_files(files: Any, config: Any) -> Any:
    """Adds the made pages and what pages name outside docs/."""
    made = {"reference/commands.md": command_page.page()}
    made |= {f"reference/errors/{name}": text for name, text in error_pages.pages().items()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    pages = [PurePosixPath("docs", one.src_uri) for one in files.documentation_pages() if one.src_uri not in made]
    for file in outside.files_outside(pages, ROOT):
        files.append(File.generated(config, str(outside.place(file)), abs_src_path=str(ROOT / file)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links to files outside docs/ become links into the site."""
    uri = PurePosixPath(page.file.src_uri)
    source = uri.relative_to(outside.TAKEN) if uri.parts[0] == outside.TAKEN else "docs" / uri
    return outside.relinked(
        markdown, source, lambda file: files.get_file_from_path(str(outside.place(file))) is not None
    )


def on_post_build(config: Any) -> None:
    """Refuses a site that would load anything from another host."""
    for file in Path(config["site_dir"]).rglob("*.html"):
        if file.name == "report.html":
            continue
        if found := LOADED.search(file.read_text(encoding="utf-8")):
            raise PluginError(f"{file}: loads from another host: {found[0][:120]}")
