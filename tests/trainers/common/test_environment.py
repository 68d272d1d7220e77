"""Where a result was made."""

from importlib.metadata import version

from trainers.common.environment import package_versions


def test_versions_of_the_libraries_that_networks_come_from_are_kept():
    found = package_versions()
    assert {name: found[name] for name in ("timm", "segmentation-models-pytorch")} == {
        "timm": version("timm"),
        "segmentation-models-pytorch": version("segmentation-models-pytorch"),
    }


def test_a_package_that_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr("trainers.common.environment.PACKAGES", ("torch", "no-such-package"))
    assert package_versions() == {"torch": version("torch")}
