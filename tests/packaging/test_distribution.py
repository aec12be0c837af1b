"""What is installed is what is in the tree, complete, and says the same of itself everywhere."""

import json
import os
import re
from importlib.metadata import Distribution, distribution, entry_points
from importlib.resources import files

import pytest

import deliverykit
from checkout import PROJECT, ROOT, SOURCE, tracked_files


@pytest.fixture(scope="module")
def installed() -> Distribution:
    found = distribution("deliverykit")
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        if os.environ.get("CI") == "true":
            pytest.fail("CI has an editable install; the tests are for the wheel")
        pytest.skip("an editable install has no wheel to look into")
    return found


def test_the_wheel_holds_every_file_of_the_source(installed: Distribution) -> None:
    here = {str(path) for path in installed.files or () if path.parts[0] == "deliverykit" and path.suffix != ".pyc"}
    tree = {f"deliverykit/{path.relative_to(SOURCE).as_posix()}" for path in tracked_files() if path.is_relative_to(SOURCE)}
    assert tree, "no source beside the tests"
    assert here == tree | {"deliverykit/examples/newsletter.eml", "deliverykit/examples/recipients.csv"}  # `deliverykit demo`


def test_the_wheel_is_typed_and_licensed(installed: Distribution) -> None:
    assert files("deliverykit").joinpath("py.typed").is_file()
    assert installed.metadata["License-Expression"] == "MIT"
    assert "LICENSE" in {path.name for path in installed.files or ()}


def test_versions_agree() -> None:
    version = PROJECT["version"]
    changelog = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert deliverykit.__version__ == version == distribution("deliverykit").version
    assert changelog[0] == version, "the newest version of CHANGELOG.md is not the project's"


def test_the_changelog_has_a_place_for_what_comes() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_extra_all_is_the_sum_of_the_extras() -> None:
    extras = dict(PROJECT["optional-dependencies"])
    everything = re.fullmatch(r"deliverykit\[(.+)\]", extras.pop("all")[0])
    assert everything
    assert set(everything[1].split(",")) == set(extras)


def test_the_command_is_there() -> None:
    (command,) = (one for one in entry_points(group="console_scripts") if one.name == "deliverykit")
    assert callable(command.load())
