"""dvc.yaml lists the code that each stage uses; DVC itself follows no imports."""

from pathlib import Path

import pytest

from pipelines import graph
from pipelines.commands import deps
from pipelines.system import dependencies


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `pipelines` folder in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pipelines"
    (folder / "stages").mkdir(parents=True)
    return folder


def write(package: Path, name: str, text: str) -> None:
    path = package / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("stage", list(graph.read()))
def test_dvc_yaml_lists_the_code_that_a_stage_uses_and_no_other(stage: str) -> None:
    paths = graph.read()[stage].deps
    listed = [path for path in paths if path.startswith(graph.CODE_FOLDER)]

    assert listed == dependencies.code_of(stage), "`python -m pipelines deps --write` fixes it"


def test_an_import_inside_a_function_is_followed(package: Path) -> None:
    write(package, "deep.py", "NUMBER = 1\n")
    write(package, "stages/outer.py", "def run():\n    from pipelines.deep import NUMBER\n")

    assert dependencies.code_of("outer") == ["pipelines/deep.py", "pipelines/stages/outer.py"]


def test_a_relative_import_is_followed(package: Path) -> None:
    write(package, "room/__init__.py", '"""A room."""\n')
    write(package, "room/first.py", "from . import second\nfrom .third import NUMBER\n")
    write(package, "room/second.py", "NUMBER = 2\n")
    write(package, "room/third.py", "NUMBER = 3\n")
    write(package, "stages/outer.py", "from pipelines.room import first\n")

    rooms = [f"pipelines/room/{name}.py" for name in ("first", "second", "third")]
    assert dependencies.code_of("outer") == [*rooms, "pipelines/stages/outer.py"]


def test_a_module_that_is_started_by_its_name_is_followed(package: Path) -> None:
    write(package, "worker.py", "print(1)\n")
    write(package, "stages/outer.py", 'COMMAND = ["-m", "pipelines.worker"]\n')

    assert dependencies.code_of("outer") == ["pipelines/stages/outer.py", "pipelines/worker.py"]


DOOR = "from pipelines.room.first import load\nfrom pipelines.room.second import save\n"


@pytest.mark.parametrize(
    "code",
    [
        "from pipelines.room import load\n",
        "from pipelines import room\nroom.load()\n",
    ],
)
def test_a_name_that_a_package_exports_leads_to_the_module_that_defines_it(
    package: Path, code: str
) -> None:
    write(package, "room/__init__.py", DOOR)
    write(package, "room/first.py", "def load(): ...\n")
    write(package, "room/second.py", "def save(): ...\n")
    write(package, "stages/outer.py", code)

    files = ["pipelines/room/first.py", "pipelines/stages/outer.py"]
    assert dependencies.code_of("outer") == files


def test_a_folder_that_is_copied_whole_is_listed_once(package: Path) -> None:
    write(package, "runtime/__init__.py", "FOLDER = __file__\n")
    write(package, "runtime/model.py", "NUMBER = 1\n")
    write(package, "stages/outer.py", "from pipelines.runtime import FOLDER, model\n")

    assert dependencies.code_of("outer") == ["pipelines/runtime", "pipelines/stages/outer.py"]


def test_a_template_brings_the_one_that_it_extends(package: Path) -> None:
    write(package, "pages/base.html.j2", "<html></html>")
    write(package, "pages/answers.html.j2", '{% extends "base.html.j2" %}')
    write(package, "pages/other.html.j2", "")
    write(package, "stages/outer.py", 'TEMPLATE = "answers.html.j2"\n')

    assert dependencies.code_of("outer") == [
        "pipelines/pages/answers.html.j2",
        "pipelines/pages/base.html.j2",
        "pipelines/stages/outer.py",
    ]


def test_write_keeps_comments_order_and_data(package: Path) -> None:
    write(package, "stages/outer.py", "NUMBER = 1\n")
    dvc_yaml = package.parent / "dvc.yaml"
    dvc_yaml.write_text(
        "# the stages\n"
        "stages:\n"
        "  outer:\n"
        "    cmd: python -m pipelines outer # as DVC calls it\n"
        "    deps:\n"
        "      - data/b.parquet\n"
        "      - pipelines/gone.py\n"
        "      - data/a.parquet\n"
    )

    assert deps.run(write=False) == 1
    assert deps.run(write=True) == 0
    assert dvc_yaml.read_text() == (
        "# the stages\n"
        "stages:\n"
        "  outer:\n"
        "    cmd: python -m pipelines outer # as DVC calls it\n"
        "    deps:\n"
        "      - data/b.parquet\n"
        "      - data/a.parquet\n"
        "      - pipelines/stages/outer.py\n"
    )
    assert deps.run(write=False) == 0
