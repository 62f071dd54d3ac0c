"""infra/requirements/licences.json, the packages that are installed here, and the defaults."""

import json
from pathlib import Path

from pipelines import files
from pipelines.commands import licences
from pipelines.config import params
from pipelines.config.gate import GateConfig
from pipelines.contracts.package_licences import PackageLicences
from pipelines.decision import bill_of_materials, licence_rules
from pipelines.decision.bill_of_materials import Model
from pipelines.system import locked_packages

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra/requirements"
LISTS = [FOLDER / f"{name}.txt" for name in ("pipeline", "models", "triton")]


def test_the_file_holds_what_the_installed_packages_state() -> None:
    table = files.read_json(FOLDER / "licences.json", PackageLicences).root
    assert licences.read(table) == table
    assert len(table) > 300


def test_the_defaults_allow_every_package_and_no_exception_is_idle() -> None:
    config = params.load(ROOT / "params.yaml").section(GateConfig)
    packages = locked_packages.read(LISTS, FOLDER / "licences.json")
    check = licence_rules.check_packages(config, packages)
    assert check.passed, check.observed
    strict = config.model_copy(update={"package_exceptions": {}})
    names = {line.split("==")[0] for line in licence_rules._refusals(strict, packages)}
    assert names == set(config.package_exceptions)


def test_no_licence_is_on_the_list_that_no_package_needs() -> None:
    config = params.load(ROOT / "params.yaml").section(GateConfig)
    packages = locked_packages.read(LISTS, FOLDER / "licences.json")
    for licence in config.package_licences:
        others = [name for name in config.package_licences if name != licence]
        strict = config.model_copy(update={"package_licences": others})
        assert not licence_rules.check_packages(strict, packages).passed, licence


def test_the_list_of_parts_of_all_packages_is_the_same_each_time() -> None:
    packages = locked_packages.read(LISTS, FOLDER / "licences.json")
    candidate = Model("candidate", "assistant", "1", None, "a" * 64)
    base = Model("base", "org/model", None, "llama3.2", "b" * 64)
    first = bill_of_materials.render(candidate, [base], packages)
    assert bill_of_materials.render(candidate, [base], reversed(packages)) == first
    assert len(json.loads(first)["components"]) == len(packages) + 1


def test_a_package_for_another_system_is_left_out_and_one_for_another_python_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "list.txt"
    path.write_text(
        "everywhere==1.0\n"
        "windows==1.0 ; sys_platform == 'win32'\n"
        "old==1.0 ; python_full_version < '3.11.3'\n"
        "new==1.0 ; python_full_version >= '3.13'\n"
        "ancient==1.0 ; python_full_version < '3.11'\n"
        "arm==1.0 ; platform_machine == 'aarch64'\n"
    )
    names = [pin.name for pin in locked_packages.pins(path)]
    assert names == ["everywhere", "old", "new", "arm"]
