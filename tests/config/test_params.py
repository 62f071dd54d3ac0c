import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.config import params
from pipelines.config.chunk import ChunkConfig
from pipelines.config.index import IndexConfig
from pipelines.errors import UserError

ROOT = Path(__file__).parents[2]


def problems(folder: Path, content: str | bytes) -> list[str]:
    """What `load` says about a params.yaml with this content, a line a problem; sections that it leaves out are left out."""
    path = folder / "params.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as caught:
        params.load(path)
    return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines() if ": is missing. Add it" not in line]


def test_params_yaml_of_this_repository_is_valid_and_every_section_is_found_by_its_name() -> None:
    loaded = params.load(ROOT / "params.yaml")
    assert loaded.section("validate") is loaded.validate_
    assert loaded.section("chunk") is loaded.chunk
    assert isinstance(loaded.chunk, ChunkConfig)


def test_a_section_that_there_is_not_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match="params.yaml has no section `trian`; its sections are engine, ingest, redact, validate, encoder, "):
        params.load(ROOT / "params.yaml").section("trian")


def test_the_json_schema_in_infra_is_the_one_that_the_code_makes() -> None:
    assert (ROOT / "infra/params.schema.json").read_text(encoding="utf-8") == params.schema()


def test_every_key_is_described() -> None:
    described = {name: field.description for name, field in params.Params.model_fields.items()}
    for section in params.Params.model_fields.values():
        described |= {f"{section.annotation}.{name}": field.description for name, field in section.annotation.model_fields.items()}  # type: ignore[union-attr]
    assert [name for name, description in described.items() if not description] == []


@pytest.mark.parametrize("written", ["5e-4", "5E-4", "5.e-4", ".5e-3", "+5e-4", "0.0005"])
def test_a_number_with_an_exponent_is_a_number_as_dvc_reads_it(tmp_path: Path, written: str) -> None:
    text = re.sub(r"(?m)^(finetune:\n(?: .*\n)*?  learning_rate:) \S+", rf"\1 {written}", (ROOT / "params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(text)
    assert params.load(tmp_path / "params.yaml").finetune.learning_rate == 0.0005


def test_a_misspelt_key_names_file_line_and_the_key_that_was_meant(tmp_path: Path) -> None:
    assert problems(tmp_path, "evaluate:\n  top_k: 10\n  num_pasages: 3\n") == ["params.yaml:3: evaluate.num_pasages: no such key. Did you mean `num_passages`?"]


def test_a_misspelt_section_names_the_section_that_was_meant(tmp_path: Path) -> None:
    assert problems(tmp_path, "\nchunks: {}\n") == ["params.yaml:2: chunks: no such key. Did you mean `chunk`?"]


def test_a_key_like_no_other_names_the_keys_that_are_known_there(tmp_path: Path) -> None:
    assert problems(tmp_path, "index:\n  zzz: 1\n") == ["params.yaml:2: index.zzz: no such key. Known here: hybrid_alpha, keep, verify_sample."]


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
    assert problems(tmp_path, text) == ["params.yaml:8: ingest.sources[1].pth: no such key. Did you mean `path`?"]


def test_a_missing_key_names_its_section_line_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("# comment\nindex:\n  keep: 3\n")
    with pytest.raises(UserError) as caught:
        params.load(tmp_path / "params.yaml")
    lines = str(caught.value).splitlines()
    assert f"{tmp_path}/params.yaml:2: index.verify_sample: is missing. Add it (see the comments of params.yaml in Git: `git diff params.yaml`)." in lines
    assert f"{tmp_path}/params.yaml:1: ingest: is missing. Add it (see the comments of params.yaml in Git: `git diff params.yaml`)." in lines


def test_every_wrong_key_is_told_at_once(tmp_path: Path) -> None:
    assert problems(tmp_path, "index:\n  keep: 0\n  verify_sample: x\nchunk: 3\n") == [
        "params.yaml:4: chunk: must hold keys with values (it is 3). Compare it with Git: `git diff params.yaml`.",
        "params.yaml:2: index.keep: Input should be greater than or equal to 1 (it is 0)",
        "params.yaml:3: index.verify_sample: Input should be a valid integer (it is 'x')",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("index:\n  keep: '3'", "2: index.keep: Input should be a valid integer (it is '3')"),
        ("index:\n  keep: 3.0", "2: index.keep: Input should be a valid integer (it is 3.0)"),
        ("index:\n  keep: true", "2: index.keep: Input should be a valid integer (it is True)"),
        ("index:\n  keep: null", "2: index.keep: Input should be a valid integer (it is None)"),
        ("finetune:\n  packing: 1", "2: finetune.packing: Input should be a valid boolean (it is 1)"),
        ("finetune:\n  zero_stage: true", "2: finetune.zero_stage: Input should be a valid integer (it is True)"),
        ("finetune:\n  learning_rate: '5e-4'", "2: finetune.learning_rate: Input should be a valid number (it is '5e-4')"),
        ("validate:\n  languages: [en, no]", "2: validate.languages[1]: Input should be a valid string (it is False)"),
    ],
)
def test_a_value_of_another_type_is_refused_and_never_converted(tmp_path: Path, content: str, problem: str) -> None:
    assert problems(tmp_path, content) == [f"params.yaml:{problem}"]


@pytest.mark.parametrize("written", [".nan", ".inf", "-.inf"])
def test_a_number_that_is_not_finite_is_refused(tmp_path: Path, written: str) -> None:
    found = problems(tmp_path, f"gate:\n  floors:\n    exact_match: {written}\n  min_gain_over_base: {written}\n")
    assert found == [
        f"params.yaml:3: gate.floors.exact_match: Input should be a finite number (it is {float(written.replace('.', ''))})",
        f"params.yaml:4: gate.min_gain_over_base: Input should be a finite number (it is {float(written.replace('.', ''))})",
    ]


def test_an_unknown_kind_of_source_names_its_line_and_the_kinds_there_are(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "ingest:\n  max_rejected_share: 0\n  sources:\n    - kind: ftp\n      name: x\n")
    assert found == "params.yaml:4: ingest.sources[0]: Input tag 'ftp' found using 'kind' does not match any of the expected tags: 'files', 'python_packages', 'web', 'sql', 'hf', 'git'"


def test_a_source_without_a_kind_is_told_to_have_one(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "ingest:\n  max_rejected_share: 0\n  sources:\n    - name: x\n")
    assert found == "params.yaml:4: ingest.sources[0].kind: is missing. It says which source this is: files, python_packages, web, sql, hf, git."


@pytest.mark.parametrize("path", ["docs", "data", "/data/raw", "data/raw/../secret", "data/rawer"])
def test_a_source_outside_of_the_tracked_folder_is_refused(tmp_path: Path, path: str) -> None:
    text = f"ingest:\n  max_rejected_share: 0\n  sources:\n    - kind: files\n      name: x\n      path: {path}\n      globs: ['*.md']\n"
    (found,) = problems(tmp_path, text)
    assert found.startswith("params.yaml:6: ingest.sources[0].path: a source's folder must lie below data/raw")
    assert found.endswith(f"(it is '{path}')")


@pytest.mark.parametrize("glob", ["", "/*.md", "../*.md"])
def test_a_glob_that_leaves_the_folder_is_refused(tmp_path: Path, glob: str) -> None:
    text = f"ingest:\n  max_rejected_share: 0\n  sources:\n    - kind: files\n      name: x\n      path: data/raw/x\n      globs: ['{glob}']\n"
    (found,) = problems(tmp_path, text)
    assert found == f"params.yaml:7: ingest.sources[0].globs: '{glob}' is no pattern below the folder: write one such as **/*.md (it is ['{glob}'])"


MADE = "vocabulary_size: 300, hidden_size: 100, num_layers: 1, num_heads: 3, num_tokens: 1000, sequence_length: 16, batch_size: 1, learning_rate: 0.1"
FINETUNE = """
  {lora_rank: 1, lora_alpha: 1, lora_dropout: 0, train_embeddings: true, learning_rate: 0.1, warmup_share: 0, weight_decay: 0, num_epochs: 1,
   batch_size: 1, gradient_accumulation_steps: 1, max_tokens: 16, packing: false, gradient_checkpointing: false, precision: auto,
   num_processes: 0, hostfile: null, checkpoint_steps: 1, seed: 0"""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("chunk: {max_tokens: 100, min_tokens: 0, overlap_tokens: 50, max_characters: 2000}", "chunk: overlap_tokens (50) must be less than half of max_tokens (100)"),
        ("chunk: {max_tokens: 100, min_tokens: 100, overlap_tokens: 0, max_characters: 2000}", "chunk: min_tokens (100) must be less than max_tokens (100)"),
        (f"base:\n  made: {{{MADE}}}", "base.made: hidden_size (100) must be a multiple of 2 x num_heads (3)"),
        (
            f"base: {{source: x/y, revision: main, seed: 0, made: {{{MADE.replace('num_heads: 3', 'num_heads: 2')}}}}}",
            "base: revision 'main' is no commit: give the 40 hex digits, a branch name may move",
        ),
        (
            f"finetune: {FINETUNE}, method: qlora, zero_stage: 3, offload: none}}",
            "finetune: method qlora does not work with zero_stage 3 here: 4-bit weights are not sharded; use zero_stage 2",
        ),
        (f"finetune: {FINETUNE}, method: lora, zero_stage: 2, offload: all}}", "finetune: offload: all needs zero_stage 3 (it is 2); use offload: optimizer"),
        (f"finetune: {FINETUNE}, method: lora, zero_stage: 0, offload: optimizer}}", "finetune: offload: optimizer needs zero_stage 1, 2 or 3 (it is 0)"),
        (f"finetune: {FINETUNE}, method: lora, zero_stage: 4, offload: none}}", "finetune.zero_stage: Input should be less than or equal to 3 (it is 4)"),
    ],
)
def test_values_that_do_not_go_together_are_told_with_both(tmp_path: Path, content: str, problem: str) -> None:
    (found,) = problems(tmp_path, content)
    assert found.split(": ", 1)[1] == problem


def test_a_key_that_occurs_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    found = problems(tmp_path, "index:\n  keep: 3\n  verify_sample: 64\n  keep: 5\n")
    assert found[0] == "params.yaml:4: is not valid YAML: key `keep` occurs twice (lines 2 and 4). Look at this line and those above it"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"index: [\n", "params.yaml:2: is not valid YAML: expected the node content"),
        (b"? [a, b]\n: c\n", "params.yaml:1: is not valid YAML: a key must be a single word"),
        (b"a: !!python/object/apply:os.getcwd []\n", "params.yaml:1: is not valid YAML: could not determine a constructor"),
        (b"index: \xff\n", "params.yaml is not UTF-8 (byte 7): save it as UTF-8, or restore it with `git checkout "),
        (b"", "params.yaml:1: the file: must hold keys with values (it is None). Compare it with Git: `git diff params.yaml`."),
        (b"- index\n", "params.yaml:1: the file: must hold keys with values (it is ['index']). Compare it with Git: `git diff params.yaml`."),
        (b"1: 2\n", "params.yaml:1: [1]: Keys should be strings (it is 1)"),
    ],
)
def test_a_file_that_is_no_mapping_of_keys_is_told_so(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problems(tmp_path, content)[0].startswith(problem)


def test_a_missing_file_names_two_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        params.load()
    assert str(caught.value) == "params.yaml is not here: run this from the repository's root, or restore it with `git checkout params.yaml`"


def test_a_section_cannot_be_changed_after_reading() -> None:
    config = IndexConfig(keep=3, hybrid_alpha=0.7, verify_sample=64)
    with pytest.raises(ValidationError, match="frozen"):
        config.keep = 4
    assert config.keep == 3
