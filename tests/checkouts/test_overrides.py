import json
import shutil
from pathlib import Path

import pytest

from pipelines.checkouts import overrides
from pipelines.config import params
from pipelines.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml"))


def test_a_given_value_replaces_the_files_and_nothing_else(file: Path) -> None:
    before = file.read_text().splitlines()

    changes = overrides.apply(file, {"finetune.learning_rate": 2e-05, "finetune.seed": 7, "base.made.num_layers": 3})

    changed = [(old, new) for old, new in zip(before, file.read_text().splitlines(), strict=True) if old != new]
    assert [new.strip().split(" ")[:2] for _, new in changed] == [["num_layers:", "3"], ["learning_rate:", "2e-05"]]
    assert changes == [("finetune.learning_rate", 0.002, 2e-05), ("base.made.num_layers", 2, 3)]
    assert params.load(file).finetune.learning_rate == 2e-05


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gate.floors", {"exact_match": 0.1}),
        ("ingest.sources", [{"kind": "files", "name": "x", "path": "data/raw/x", "globs": ["*"]}]),
        ("encoder.revision", "0" * 40),
        ("finetune.packing", True),
        ("base.source", 'a "quoted": name # here'),
    ],
)
def test_values_of_every_kind_are_read_back_as_given(key: str, value: object, file: Path) -> None:
    overrides.apply(file, {key: value})

    section, name = key.split(".")
    assert json.loads(params.load(file).model_dump_json(by_alias=True))[section][name] == value


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"finetune.sed": 1}, "params.yaml has no key `finetune.sed`"),
        ({"finetune.seed": "x"}, "finetune.seed: Input should be a valid integer"),
        ({"finetune.method": "qlora", "finetune.zero_stage": 3}, "method qlora does not work with zero_stage 3"),
    ],
)
def test_a_wrong_value_is_refused_and_the_file_stays(given: dict[str, object], wanted: str, file: Path) -> None:
    before = file.read_text()

    with pytest.raises(UserError, match="refused, nothing has run") as caught:
        overrides.apply(file, given)

    assert wanted in str(caught.value)
    assert file.read_text() == before
