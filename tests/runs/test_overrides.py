import shutil
from pathlib import Path

import pytest

from pipelines.config import form, params
from pipelines.config.finetune import FinetuneConfig
from pipelines.errors import UserError
from pipelines.runs import overrides

ROOT = Path(__file__).parents[2]
SOURCE = {"kind": "files", "name": "x", "path": "data/raw/x", "globs": ["*"], "readers": ["hr"]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml"))


def test_an_overridden_value_replaces_the_files_and_nothing_else(file: Path) -> None:
    lines = file.read_text().splitlines()
    rate = params.load(file).section(FinetuneConfig).learning_rate

    changes = overrides.apply(
        file, {"finetune.learning_rate": 2e-05, "finetune.seed": 7, "base.made.num_layers": 3}
    )

    new_lines = file.read_text().splitlines()
    pairs = zip(lines, new_lines, strict=True)
    differences = [after.split()[:2] for before, after in pairs if before != after]
    assert differences == [["num_layers:", "3"], ["learning_rate:", "2e-05"]]
    assert changes == [("finetune.learning_rate", rate, 2e-05), ("base.made.num_layers", 2, 3)]
    assert params.load(file).section(FinetuneConfig).learning_rate == 2e-05


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gate.floors", {"exact_match": 0.1}),
        ("ingest.sources", [SOURCE]),
        ("encoder.revision", "0" * 40),
        ("finetune.packing", "joined"),
        ("base.source", 'a "quoted": name # here'),
    ],
)
def test_values_of_every_kind_are_read_back_as_written(key: str, value: object, file: Path) -> None:
    overrides.apply(file, {key: value})

    section, name = key.split(".")
    values = params.load(file).named(section).model_dump(mode="json", by_alias=True)
    assert values[name] == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"finetune.sed": 1}, "params.yaml has no key `finetune.sed`"),
        ({"finetune.seed": "x"}, "finetune.seed: Input should be a valid integer"),
        (
            {"finetune.method": "qlora", "finetune.zero_stage": 3},
            "method qlora does not work with zero_stage 3",
        ),
    ],
)
def test_a_wrong_value_is_refused_and_the_file_stays(
    values: dict[str, object], message: str, file: Path
) -> None:
    before = file.read_text()

    with pytest.raises(UserError, match="refused, nothing has run") as error:
        overrides.apply(file, values)

    assert message in str(error.value)
    assert file.read_text() == before


def test_a_form_that_nobody_has_changed_overrides_nothing(file: Path) -> None:
    text = file.read_text()
    sections = list(params.section_models())
    fields = form.fields(params.load(file), sections)
    assert overrides.apply(file, {field.key: field.value for field in fields}) == []
    assert file.read_text() == text
