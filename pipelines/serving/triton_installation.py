"""Finds Triton's program, its Python backend's stub, and the environment that it runs in.

The package nvidia-pytriton in .venv-triton brings them; `infra/triton/install` completes them.
"""

import os
import subprocess
import sys
from pathlib import Path

from pipelines.errors import UserError

# Beside the pipeline's own environment, whatever work tree this runs in.
ENVIRONMENT = Path(sys.prefix).parent / ".venv-triton"
PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
PRINT_LIBRARY = """
import sysconfig
print(sysconfig.get_config_var("LIBDIR"))
print(sysconfig.get_config_var("INSTSONAME"))
"""


def home() -> Path:
    """The folder of tritonserver. Raises UserError if Triton's environment is not there."""
    folders = sorted(ENVIRONMENT.glob("lib/python3.*/site-packages/pytriton/tritonserver"))
    if not folders:
        raise UserError(
            f"there is no Triton server in {ENVIRONMENT}: `make setup` installs it "
            "(Linux on x86-64 or ARM)"
        )
    return folders[0]


def stub() -> Path:
    """The Python backend's stub for the Python of Triton's environment."""
    version = home().parents[2].name.removeprefix("python")
    stubs = home() / "python_backend_stubs"
    path = stubs / version / "triton_python_backend_stub"
    if not path.exists():
        versions = ", ".join(sorted(folder.name for folder in stubs.iterdir()))
        raise UserError(f"nvidia-pytriton has no stub for Python {version}: use one of {versions}")
    return path


def program() -> Path:
    """The tritonserver program. Raises UserError if its Python backend is not complete."""
    if not (home() / "backends/python" / stub().name).exists():
        raise UserError(
            "the Triton server is not complete: `make setup` (infra/triton/install) completes it"
        )
    return home() / "bin/tritonserver"


def environment(extra: dict[str, str]) -> dict[str, str]:
    """Triton's own Python first, the shared library of exactly that Python, nothing of ours."""
    variables = {name: value for name, value in os.environ.items() if name not in PYTHON_VARIABLES}
    libraries = home().parents[1] / "nvidia_pytriton.libs"
    settings = {
        "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ.get('PATH', '')}",
        "LD_LIBRARY_PATH": f"{_library_folder()}:{libraries}",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        # A waiting thread that spins takes the processor from the models beside it.
        "OMP_WAIT_POLICY": "passive",
    }
    return {**variables, **settings, **extra}


def _library_folder() -> Path:
    """Where the Python of Triton's environment has its shared library. Raises UserError if none."""
    python = ENVIRONMENT / "bin/python"
    answer = subprocess.run(
        [str(python), "-c", PRINT_LIBRARY], capture_output=True, text=True, check=True
    )
    folder, library = answer.stdout.splitlines()
    if not (Path(folder) / library).exists() and not _is_known_to_linker(library):
        package = library.partition(".so")[0]
        raise UserError(
            f"the Python of {ENVIRONMENT} has no shared library {library}: install it "
            f"(Debian: apt-get install {package})"
        )
    return Path(folder)


def _is_known_to_linker(library: str) -> bool:
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True)
    return library in listing.stdout
