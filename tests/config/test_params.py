import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.config import params
from pipelines.config.chunk import ChunkConfig
from pipelines.config.finetune import FinetuneConfig
from pipelines.config.index import IndexConfig
from pipelines.config.validate import ValidateConfig
from pipelines.errors import UserError

ROOT = Path(__file__).parents[2]


def problems(folder: Path, content: str | bytes) -> list[str]:
    """What `load` says about a params.yaml with this content, a line for each problem.

    Sections that the content leaves out are not mentioned.
    """
    path = folder / "params.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as caught:
        params.load(path)
    lines = str(caught.value).splitlines()
    return [line.removeprefix(f"{folder}/") for line in lines if ": is missing. Add it" not in line]


def test_params_yaml_of_this_repository_is_valid_and_every_section_is_found_by_its_name() -> None:
    values = params.load(ROOT / "params.yaml")
    assert values.named("validate") is values.section(ValidateConfig)
    assert values.named("chunk") is values.section(ChunkConfig)


def test_the_sections_are_listed_in_the_order_of_the_file() -> None:
    names = params.load(ROOT / "params.yaml").names()
    assert names[:4] == ["engine", "ingest", "fetch", "redact"]
    assert sorted(names) == sorted(params.section_models())


def test_an_unknown_section_is_named_with_the_existing_ones() -> None:
    message = "params.yaml has no section `trian`; its sections are engine, ingest, fetch, redact, "
    with pytest.raises(UserError, match=message):
        params.load(ROOT / "params.yaml").named("trian")


def test_the_json_schema_in_infra_is_the_one_that_the_code_makes() -> None:
    stored = (ROOT / "infra/params.schema.json").read_text(encoding="utf-8")
    assert stored == params.schema()


def test_every_key_is_described() -> None:
    undescribed = []
    for name, model in params.section_models().items():
        assert model.__doc__, name
        for key, field in model.model_fields.items():
            if not field.description:
                undescribed.append(f"{name}.{key}")
    assert undescribed == []


@pytest.mark.parametrize("written", ["5e-4", "5E-4", "5.e-4", ".5e-3", "+5e-4", "0.0005"])
def test_a_number_with_an_exponent_is_a_number_as_dvc_reads_it(
    tmp_path: Path, written: str
) -> None:
    text = re.sub(
        r"(?m)^(finetune:\n(?: .*\n)*?  learning_rate:) \S+",
        rf"\1 {written}",
        (ROOT / "params.yaml").read_text(),
    )
    (tmp_path / "params.yaml").write_text(text)
    values = params.load(tmp_path / "params.yaml")
    assert values.section(FinetuneConfig).learning_rate == 0.0005


def test_a_misspelt_key_names_file_line_and_the_key_that_was_meant(tmp_path: Path) -> None:
    assert problems(tmp_path, "evaluate:\n  top_k: 10\n  num_pasages: 3\n") == [
        "params.yaml:3: evaluate.num_pasages: no such key. Did you mean `num_passages`?"
    ]


def test_a_misspelt_section_names_the_section_that_was_meant(tmp_path: Path) -> None:
    assert problems(tmp_path, "\nchunks: {}\n") == [
        "params.yaml:2: chunks: no such key. Did you mean `chunk`?"
    ]


def test_a_key_like_no_other_names_the_keys_that_are_known_there(tmp_path: Path) -> None:
    assert problems(tmp_path, "index:\n  zzz: 1\n") == [
        "params.yaml:2: index.zzz: no such key. "
        "Known here: hybrid_alpha, keep, rerank_weight, verify_sample."
    ]


def test_a_misspelt_key_of_a_source_names_line_and_the_key_that_was_meant(tmp_path: Path) -> None:
    text = """
ingest:
  max_rejected_share: 0
  sources:
    - {kind: python_packages, name: packages, packages: [click]}
    - kind: files
      name: handbook
      pth: x
      path: data/raw/handbook
      globs: ["*.md"]
"""
    assert problems(tmp_path, text) == [
        "params.yaml:8: ingest.sources[1].pth: no such key. Did you mean `path`?"
    ]


def test_a_missing_key_names_its_section_line_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("# comment\nindex:\n  keep: 3\n")
    with pytest.raises(UserError) as caught:
        params.load(path)
    lines = str(caught.value).splitlines()
    remedy = "is missing. Add it (`git diff params.yaml` shows the comments)."
    assert f"{path}:2: index.verify_sample: {remedy}" in lines
    assert f"{path}:1: ingest: {remedy}" in lines


def test_every_wrong_key_is_reported_at_once(tmp_path: Path) -> None:
    assert problems(tmp_path, "index:\n  keep: 0\n  verify_sample: x\nchunk: 3\n") == [
        "params.yaml:2: index.keep: Input should be greater than or equal to 1 (it is 0)",
        "params.yaml:3: index.verify_sample: Input should be a valid integer (it is 'x')",
        "params.yaml:4: chunk: must hold keys with values (it is 3). See `git diff params.yaml`.",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("index:\n  keep: '3'", "2: index.keep: Input should be a valid integer (it is '3')"),
        ("index:\n  keep: 3.0", "2: index.keep: Input should be a valid integer (it is 3.0)"),
        ("index:\n  keep: true", "2: index.keep: Input should be a valid integer (it is True)"),
        ("index:\n  keep: null", "2: index.keep: Input should be a valid integer (it is None)"),
        (
            "finetune:\n  train_embeddings: 1",
            "2: finetune.train_embeddings: Input should be a valid boolean (it is 1)",
        ),
        (
            "finetune:\n  zero_stage: true",
            "2: finetune.zero_stage: Input should be a valid integer (it is True)",
        ),
        (
            "finetune:\n  learning_rate: '5e-4'",
            "2: finetune.learning_rate: Input should be a valid number (it is '5e-4')",
        ),
        (
            "validate:\n  languages: [en, no]",
            "2: validate.languages[1]: Input should be a valid string (it is False)",
        ),
    ],
)
def test_a_value_of_another_type_is_refused_and_never_converted(
    tmp_path: Path, content: str, problem: str
) -> None:
    assert problems(tmp_path, content) == [f"params.yaml:{problem}"]


@pytest.mark.parametrize("written", [".nan", ".inf", "-.inf"])
def test_a_number_that_is_not_finite_is_refused(tmp_path: Path, written: str) -> None:
    content = f"gate:\n  floors:\n    exact_match: {written}\n  min_gain_over_base: {written}\n"
    number = float(written.replace(".", ""))
    problem = f"Input should be a finite number (it is {number})"
    assert problems(tmp_path, content) == [
        f"params.yaml:3: gate.floors.exact_match: {problem}",
        f"params.yaml:4: gate.min_gain_over_base: {problem}",
    ]


def test_an_unknown_kind_of_source_names_its_line_and_the_existing_kinds(tmp_path: Path) -> None:
    (problem,) = problems(
        tmp_path, "ingest:\n  max_rejected_share: 0\n  sources:\n    - kind: ftp\n      name: x\n"
    )
    assert problem == (
        "params.yaml:4: ingest.sources[0]: Input tag 'ftp' found using 'kind' does not match any "
        "of the expected tags: 'files', 'python_packages', 'faq', 'web', 'sql', 'hf', 'git'"
    )


def test_a_source_without_a_kind_must_have_one(tmp_path: Path) -> None:
    content = "ingest:\n  max_rejected_share: 0\n  sources:\n    - name: x\n"
    (problem,) = problems(tmp_path, content)
    assert problem == (
        "params.yaml:4: ingest.sources[0].kind: is missing. It says which source this is: "
        "files, faq, python_packages, web, sql, hf, git."
    )


def files_source(path: str, glob: str) -> str:
    """The `ingest` section with one source of files."""
    source = f"    - kind: files\n      name: x\n      path: {path}\n      globs: ['{glob}']\n"
    return f"ingest:\n  max_rejected_share: 0\n  sources:\n{source}"


@pytest.mark.parametrize("path", ["docs", "data", "/data/raw", "data/raw/../secret", "data/rawer"])
def test_a_source_outside_of_the_tracked_folder_is_refused(tmp_path: Path, path: str) -> None:
    (problem,) = problems(tmp_path, files_source(path, "*.md"))
    expected = "params.yaml:6: ingest.sources[0].path: a source's folder must lie below data/raw"
    assert problem.startswith(expected)
    assert problem.endswith(f"(it is '{path}')")


@pytest.mark.parametrize("glob", ["", "/*.md", "../*.md"])
def test_a_glob_that_leaves_the_folder_is_refused(tmp_path: Path, glob: str) -> None:
    (problem,) = problems(tmp_path, files_source("data/raw/x", glob))
    assert problem.startswith(f"params.yaml:7: ingest.sources[0].globs: '{glob}' ")
    assert problem.endswith(f"such as **/*.md (it is ['{glob}'])")


MADE_MODEL = (
    "vocabulary_size: 300, hidden_size: 100, num_layers: 1, num_tokens: 1000, "
    "sequence_length: 16, batch_size: 1, learning_rate: 0.1"
)
FINETUNE = """
  {lora_rank: 1, lora_alpha: 1, lora_dropout: 0, first_layer: 0, train_embeddings: true,
   learning_rate: 0.1, warmup_share: 0, weight_decay: 0, num_epochs: 1, batch_size: 1,
   gradient_accumulation_steps: 1,
   max_tokens: 16, packing: none, gradient_checkpointing: false, precision: auto,
   num_processes: 0, hostfile: null, checkpoint_steps: 1, seed: 0"""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            "chunk: {max_tokens: 100, min_tokens: 0, overlap_tokens: 50, max_characters: 2000}",
            "chunk: overlap_tokens (50) must be less than half of max_tokens (100)",
        ),
        (
            "chunk: {max_tokens: 100, min_tokens: 100, overlap_tokens: 0, max_characters: 2000}",
            "chunk: min_tokens (100) must be less than max_tokens (100)",
        ),
        (
            f"base:\n  made: {{{MADE_MODEL}, num_heads: 3}}",
            "base.made: hidden_size (100) must be a multiple of 2 x num_heads (3)",
        ),
        (
            f"base: {{source: x/y, revision: main, seed: 0, made: {{{MADE_MODEL}, num_heads: 2}}}}",
            "base: revision 'main' is not a commit: give its 40 hex digits, since a branch can "
            "move, or the 64 of a file's or folder's sha256",
        ),
        (
            f"finetune: {FINETUNE}, method: qlora, zero_stage: 3, offload: none}}",
            "finetune: method qlora does not work with zero_stage 3 here: "
            "4-bit weights are not sharded; use zero_stage 2",
        ),
        (
            f"finetune: {FINETUNE}, method: lora, zero_stage: 2, offload: all}}",
            "finetune: offload: all needs zero_stage 3 (it is 2); use offload: optimizer",
        ),
        (
            f"finetune: {FINETUNE}, method: lora, zero_stage: 0, offload: optimizer}}",
            "finetune: offload: optimizer needs zero_stage 1, 2 or 3 (it is 0)",
        ),
        (
            f"finetune: {FINETUNE}, method: lora, zero_stage: 4, offload: none}}",
            "finetune.zero_stage: Input should be less than or equal to 3 (it is 4)",
        ),
    ],
)
def test_values_that_exclude_each_other_are_named_together(
    tmp_path: Path, content: str, problem: str
) -> None:
    (message,) = problems(tmp_path, content)
    assert message.split(": ", 1)[1] == problem


def test_a_key_that_occurs_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    content = "index:\n  keep: 3\n  verify_sample: 64\n  keep: 5\n"
    assert problems(tmp_path, content)[0] == (
        "params.yaml:4: is not valid YAML: key `keep` occurs twice (lines 2 and 4). "
        "Look at this line and those above it"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"index: [\n", "params.yaml:2: is not valid YAML: expected the node content"),
        (b"? [a, b]\n: c\n", "params.yaml:1: is not valid YAML: a key must be a single word"),
        (
            b"a: !!python/object/apply:os.getcwd []\n",
            "params.yaml:1: is not valid YAML: could not determine a constructor",
        ),
        (
            b"index: \xff\n",
            "params.yaml is not UTF-8 (byte 7): save it as UTF-8, or restore it with `git ",
        ),
        (
            b"",
            "params.yaml:1: the file: must hold keys with values (it is None). "
            "See `git diff params.yaml`.",
        ),
        (
            b"- index\n",
            "params.yaml:1: the file: must hold keys with values (it is ['index']). "
            "See `git diff params.yaml`.",
        ),
        (b"1: 2\n", "params.yaml:1: [1]: Keys should be strings (it is 1)"),
    ],
)
def test_a_file_that_is_not_a_mapping_of_keys_is_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    assert problems(tmp_path, content)[0].startswith(problem)


def test_a_missing_file_names_two_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        params.load()
    assert str(caught.value) == (
        "params.yaml is not here: run this from the repository's root, "
        "or restore it with `git checkout params.yaml`"
    )


def test_a_section_cannot_be_changed_after_reading() -> None:
    config = IndexConfig(keep=3, hybrid_alpha=0.7, rerank_weight=0, verify_sample=64)
    with pytest.raises(ValidationError, match="frozen"):
        config.keep = 4
    assert config.keep == 3
