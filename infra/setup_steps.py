"""The steps of the set-up: environments, the Weaviate server, Triton, DeepSpeed's operator.

Standard library only. infra/setup.py runs them.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".state" / "setup"
REQUIREMENTS = ROOT / "infra" / "requirements"
UV = ROOT / ".tools" / "bin" / "uv"
TOOLS_PYTHON = ROOT / ".tools" / "bin" / "python"
TORCH_BUILD = STATE / "torch_build"  # the note of which build of torch this clone uses
UV_VERSION = "0.13.9"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# Command -> the Debian package that brings it. The Python or Go registries bring everything else.
SYSTEM_COMMANDS = {"git": "git", "g++": "g++", "make": "make"}
GPU_PACKAGES = re.compile(r"^(nvidia-(?!pytriton)|cuda-|triton==)")
NUM_LOG_LINES = 12  # that an error quotes
START = time.monotonic()


class SetupError(Exception):
    """A step that could not be done; the text names the remedy."""


class Step(NamedTuple):
    """One part of the set-up."""

    name: str
    key: str  # digest of what it is made from
    product: Path  # what it makes
    make: Callable[[Path], None]  # gets the log file
    after: tuple[str, ...] = ()  # steps that come first

    def is_current(self) -> bool:
        stamp = STATE / f"{self.name}.stamp"
        return self.product.exists() and stamp.exists() and stamp.read_text() == self.key


def say(text: str) -> None:
    print(f"[{time.monotonic() - START:4.0f} s] {text}", flush=True)


def digest(*parts: str | Path) -> str:
    """Digest of files (by content) and strings."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else part.encode())
    return total.hexdigest()


def execute(command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
    """Run `command` with its output in `log`. Raises SetupError with the log's last lines."""
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        process = subprocess.run(
            command,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
    if process.returncode:
        lines = log.read_text(errors="replace").splitlines()[-NUM_LOG_LINES:]
        raise SetupError(
            f"`{' '.join(command)}` ended with exit code {process.returncode}. "
            f"Last lines of {log.relative_to(ROOT)}:\n    " + "\n    ".join(lines)
        )


def has_venv() -> bool:
    """Whether Python can make environments: Debian has that in a package of its own."""
    command = [sys.executable, "-c", "import ensurepip, venv"]
    return subprocess.run(command, capture_output=True).returncode == 0


def has_headers() -> bool:
    """Whether Python.h is there, with which DeepSpeed's operator is compiled. Debian likewise."""
    return (Path(sysconfig.get_path("include")) / "Python.h").exists()


def has_nvidia_gpu() -> bool:
    if not shutil.which("nvidia-smi"):
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0


def missing_packages() -> list[str]:
    """The Debian packages that this machine lacks."""
    packages: list[str] = []
    for command, package in SYSTEM_COMMANDS.items():
        if not shutil.which(command):
            packages.append(package)
    if not has_venv():
        packages.append(f"python{PYTHON}-venv")
    if not has_headers():
        packages.append(f"python{PYTHON}-dev")
    return packages


def install_system_packages(log: Path) -> None:
    """Install what is missing, as root on Debian; else raise SetupError with the command."""
    packages = missing_packages()
    if packages:
        names = " ".join(packages)
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise SetupError(f"missing: {names}. Install with: sudo apt-get install {names}")
        say(f"system: apt-get install {names}")
        execute(["apt-get", "update"], log)
        execute(["apt-get", "install", "-y", *packages], log, {"DEBIAN_FRONTEND": "noninteractive"})
    (STATE / "system.made").write_text("")


def install_tools(log: Path) -> None:
    """uv, and the Weaviate client whose release download infra/weaviate/install uses."""
    execute([sys.executable, "-m", "venv", "--clear", str(ROOT / ".tools")], log)
    execute([str(TOOLS_PYTHON), "-m", "pip", "install", "-q", f"uv=={UV_VERSION}"], log)
    pins = ("-c", str(REQUIREMENTS / "pipeline.txt"))
    execute([str(UV), "pip", "install", "-p", str(TOOLS_PYTHON), *pins, "weaviate-client"], log)


def torch_build(log: Path) -> str:
    """`cpu` or `plain`, decided once a clone.

    `cpu` if there is no NVIDIA GPU and PyTorch's index of CPU builds answers.
    """
    if TORCH_BUILD.exists():
        return TORCH_BUILD.read_text()
    build = "plain"
    reason = "plain release: NVIDIA GPU found"
    if not has_nvidia_gpu():
        reason = "plain release: PyTorch's CPU index cannot be reached"
        if sys.platform == "linux" and _cpu_index_answers(log):
            build = "cpu"
            reason = "CPU build: no NVIDIA GPU, its index answers"
    say(f"torch: {reason}")
    TORCH_BUILD.write_text(build)
    return build


def _cpu_index_answers(log: Path) -> bool:
    options = ("--dry-run", "--no-deps", "--torch-backend", "cpu")
    command = [str(UV), "pip", "install", "-p", str(TOOLS_PYTHON), *options, pin_of("torch")]
    environment = {**os.environ, "UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "0"}
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=environment
        )
    except subprocess.TimeoutExpired:
        return False
    with log.open("a") as output:
        output.write(process.stderr)
    return process.returncode == 0


def pin_of(package: str) -> str:
    """`package==version` as pipeline.txt pins it."""
    for line in (REQUIREMENTS / "pipeline.txt").read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line.split(";")[0].strip()
    raise SetupError(f"infra/requirements/pipeline.txt does not pin {package}: run `make lock`")


def environment_step(
    name: str, folder: str, requirements: tuple[str, ...], after: tuple[str, ...]
) -> Step:
    """The step that makes a virtual environment with exactly these lists of packages."""
    python = ROOT / folder / "bin" / "python"
    files = [REQUIREMENTS / f"{requirement}.txt" for requirement in requirements]

    def make(log: Path) -> None:
        if not python.exists():
            execute(
                [str(UV), "venv", "--clear", "-q", "-p", sys.executable, str(ROOT / folder)], log
            )
        command = [str(UV), "pip", "sync", "--compile-bytecode", "-p", str(python)]
        if _has_torch(files) and torch_build(log) == "cpu":
            command += ["--torch-backend", "cpu"]
            command += [str(_without_gpu_packages(file)) for file in files]
        else:
            command += map(str, files)
        execute(command, log)

    return Step(name, digest(PYTHON, *files), python, make, after)


def _has_torch(files: list[Path]) -> bool:
    return any("torch==" in file.read_text() for file in files)


def _without_gpu_packages(file: Path) -> Path:
    """A copy of a list of packages, without those that only a GPU needs."""
    target = STATE / f"cpu-{file.name}"
    lines = file.read_text().splitlines()
    target.write_text("".join(f"{line}\n" for line in lines if not GPU_PACKAGES.match(line)))
    return target


def install_weaviate(log: Path) -> None:
    execute([str(TOOLS_PYTHON), str(ROOT / "infra/weaviate/install")], log)


def install_data_docs(log: Path) -> None:
    execute([str(TOOLS_PYTHON), str(ROOT / "infra/data_docs/install")], log)


def install_triton(log: Path) -> None:
    execute([str(ROOT / ".venv/bin/python"), str(ROOT / "infra/triton/install")], log)


def build_operator(log: Path) -> None:
    """Compile DeepSpeed's shared-memory operator: here, beside the other steps.

    Otherwise DeepSpeed compiles it at its first start, which takes 30 to 45 s.
    """
    search_path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
    command = [str(ROOT / ".venv/bin/python"), "-m", "pipelines.training.cpu_operator"]
    execute(command, log, {"PATH": search_path, "PYTHONPATH": str(ROOT)})


def steps() -> list[Step]:
    """All steps, each after those that it needs."""
    return [*tool_steps(), *environment_steps(), triton_step()]


def tool_steps() -> list[Step]:
    """What needs no environment of ours: the system's packages, uv, Weaviate, pages' files."""
    infra = ROOT / "infra"
    return [
        Step(
            "system",
            digest(" ".join(SYSTEM_COMMANDS), PYTHON),
            STATE / "system.made",
            install_system_packages,
        ),
        Step(
            "tools",
            digest(UV_VERSION, PYTHON, pin_of("weaviate-client")),
            UV,
            install_tools,
            ("system",),
        ),
        Step(
            "weaviate",
            digest(infra / "weaviate/install", infra / "weaviate/version"),
            ROOT / ".state/weaviate/bin",
            install_weaviate,
            ("tools",),
        ),
        Step(
            "data_docs",
            digest(infra / "data_docs/install", infra / "data_docs/assets.json"),
            ROOT / ".state/data_docs",
            install_data_docs,
            ("tools",),
        ),
    ]


def environment_steps() -> list[Step]:
    """Our environments, and what is compiled in one of them.

    One environment at a time: at once, uv unpacks torch twice and nothing is shared.
    """
    return [
        environment_step("pipeline", ".venv", ("pipeline", "models", "dev"), ("tools",)),
        environment_step("airflow", ".venv-airflow", ("airflow",), ("tools", "pipeline")),
        Step(
            "deepspeed",
            digest(REQUIREMENTS / "pipeline.txt", ROOT / "pipelines/training/cpu_operator.py"),
            ROOT / ".state/torch_extensions",
            build_operator,
            ("pipeline",),
        ),
        environment_step("triton", ".venv-triton", ("triton",), ("pipeline", "airflow")),
        environment_step("openvino", ".venv-openvino", ("openvino",), ("pipeline", "triton")),
    ]


def triton_step() -> Step:
    """The server, started once to prove that it runs."""
    infra = ROOT / "infra"
    serving = ROOT / "pipelines" / "serving"
    return Step(
        "tritonserver",
        digest(
            REQUIREMENTS / "triton.txt",
            infra / "triton/install",
            serving / "triton_installation.py",
            serving / "triton_server.py",
        ),
        # In the environment, so that it goes with it.
        ROOT / ".venv-triton/proven",
        install_triton,
        ("triton", "pipeline"),
    )
