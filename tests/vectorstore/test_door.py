import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY_LIBRARIES = ("weaviate", "torch", "sentence_transformers", "transformers", "tokenizers")


def test_the_door_loads_no_heavy_library_so_that_light_commands_stay_light() -> None:
    code = "import sys, pipelines.vectorstore; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert set(output.split()).isdisjoint(HEAVY_LIBRARIES)
