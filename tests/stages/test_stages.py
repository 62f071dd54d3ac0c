"""What all stages have in common: how the runner binds their files and values by name."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from pipelines import graph, stages
from pipelines.config import params
from pipelines.config.chunk import ChunkConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.errors import UserError

ROOT = Path(__file__).parents[2]
AVAILABLE = {
    "documents": Path("data/documents.parquet"),
    "rejections": Path("data/rejections.parquet"),
}


@dataclass(frozen=True)
class Documents:
    documents: Path


@dataclass(frozen=True)
class Chunks:
    chunks: Path


@dataclass(frozen=True)
class Config:
    chunk: ChunkConfig
    encoder: EncoderConfig


def test_bind_gives_a_stage_the_files_it_names_and_no_others() -> None:
    bound = stages.bind(Documents, AVAILABLE, "stage chunk: deps")
    assert bound == Documents(Path("data/documents.parquet"))


def test_bind_names_the_missing_file_and_those_that_are_listed() -> None:
    with pytest.raises(UserError) as caught:
        stages.bind(Chunks, AVAILABLE, "stage embed: deps")
    expected = "dvc.yaml: stage embed: deps must list `chunks`; it lists documents, rejections"
    assert str(caught.value) == expected


def test_a_stage_with_several_sections_gets_them_by_name() -> None:
    module = ModuleType("several")
    module.Config = Config  # type: ignore[attr-defined]
    values = params.load(ROOT / "params.yaml")
    stage = graph.Stage("chunk", (), (), ("chunk", "encoder"))
    config = stages.config_of(module, stage, values)
    assert config == Config(values.section(ChunkConfig), values.section(EncoderConfig))


def test_a_stage_with_one_section_gets_it_as_it_is() -> None:
    values = params.load(ROOT / "params.yaml")
    stage = graph.Stage("chunk", (), (), ("chunk",))
    assert stages.config_of(ModuleType("single"), stage, values) is values.section(ChunkConfig)


@pytest.mark.parametrize("name", list(graph.read(ROOT / "dvc.yaml")))
def test_dvc_yaml_gives_every_stage_all_that_it_asks_for(name: str) -> None:
    import importlib

    module = importlib.import_module(f"pipelines.stages.{name}")
    stage = graph.read(ROOT / "dvc.yaml")[name]
    stages.bind(module.Inputs, stage.inputs(), f"stage {name}: deps")
    stages.bind(module.Outputs, stage.outputs(), f"stage {name}: outs")
    assert stages.config_of(module, stage, params.load(ROOT / "params.yaml")) is not None
