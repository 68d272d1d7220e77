"""Everything is declared in pyproject.toml; here only the presets and studies are put into the wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithShippedFiles(build_py):
    """Lays the folders where `trainers.common.shipped` looks for them. An editable install reads them in place."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in ("presets", "search_spaces"):
            shutil.copytree(folder, Path(self.build_lib) / "trainers" / "shipped" / folder, dirs_exist_ok=True)


setup(cmdclass={"build_py": WithShippedFiles})
