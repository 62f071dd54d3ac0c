"""Set up this clone: three environments, the Weaviate server, DeepSpeed's operator. Standard library only.

    python3 infra/setup.py            make or mend what is missing (`make setup`)
    python3 infra/setup.py airflow    the same for Airflow's environment alone (infra/airflow.Containerfile)
    python3 infra/setup.py doctor     say what is installed, what is missing and the command that mends it
    python3 infra/setup.py lock       pin pyproject.toml's groups into infra/requirements/*.txt

Each step leaves a stamp in .state/setup/ that holds the digest of what it was made from. A step whose stamp is current is
not repeated; a step that was interrupted has no stamp and is done again.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from concurrent.futures import Future

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".state" / "setup"
REQUIREMENTS = ROOT / "infra" / "requirements"
UV = ROOT / ".tools" / "bin" / "uv"
UV_VERSION = "0.13.9"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# What a Debian package gives: command to look for -> package. Everything else comes by the Python or Go registries.
SYSTEM_COMMANDS = {"git": "git", "g++": "g++", "make": "make"}
# What some tests want: the tests -> Debian packages by a file that each brings. Where one is missing they are skipped.
TEST_PROGRAMS = {
    "tests/dags/test_ui.py": {"chromium": "/usr/bin/chromium"},
    "infra/test -m celery": {"postgresql": "/usr/lib/postgresql", "redis-server": "/usr/bin/redis-server"},
    "infra/test -m images": {"buildah": "/usr/bin/buildah", "debootstrap": "/usr/sbin/debootstrap"},
}
GPU_PACKAGES = re.compile(r"^(nvidia-(?!pytriton)|cuda-|triton==)")
BEGAN = time.monotonic()


class SetupError(Exception):
    """A step that could not be done; the text names the remedy."""


class Step(NamedTuple):
    """One thing to make: `key` is the digest of what it is made from, `made` says whether its product is there."""

    name: str
    key: str
    made: Path
    make: Callable[[Path], None]
    after: tuple[str, ...] = ()

    def current(self) -> bool:
        stamp = STATE / f"{self.name}.stamp"
        return self.made.exists() and stamp.exists() and stamp.read_text() == self.key


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:4.0f} s] {text}", flush=True)


def digest(*parts: str | Path) -> str:
    """Digest of files (by content) and strings."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else part.encode())
    return total.hexdigest()


def execute(command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
    """Run `command` with its output in `log`. Raises SetupError with the log's last lines."""
    with log.open("ab") as out:
        out.write(f"$ {' '.join(command)}\n".encode())
        out.flush()
        done = subprocess.run(command, stdout=out, stderr=out, cwd=ROOT, env={**os.environ, **(environment or {})})
    if done.returncode:
        tail = "\n    ".join(log.read_text(errors="replace").splitlines()[-12:])
        raise SetupError(f"`{' '.join(command)}` ended with {done.returncode}. Last lines of {log.relative_to(ROOT)}:\n    {tail}")


# --- what each step does -------------------------------------------------------------------------------------------


def missing_commands() -> list[str]:
    return [command for command in SYSTEM_COMMANDS if not shutil.which(command)]


def venv_works() -> bool:
    return subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0


def headers_found() -> bool:
    """Python.h, with which DeepSpeed's operator is compiled: Debian has it in a package of its own."""
    return (Path(sysconfig.get_path("include")) / "Python.h").exists()


def install_system_packages(log: Path) -> None:
    """As root on Debian installs what is missing; else raises with the command to type."""
    packages = [SYSTEM_COMMANDS[command] for command in missing_commands()]
    if not venv_works():
        packages.append(f"python{PYTHON}-venv")
    if not headers_found():
        packages.append(f"python{PYTHON}-dev")
    if packages:
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise SetupError(f"missing: {' '.join(packages)}. Install with: sudo apt-get install {' '.join(packages)}")
        say(f"system: apt-get install {' '.join(packages)}")
        execute(["apt-get", "update"], log)
        execute(["apt-get", "install", "-y", *packages], log, {"DEBIAN_FRONTEND": "noninteractive"})
    (STATE / "system.made").write_text("")


def install_tools(log: Path) -> None:
    """uv, and the Weaviate client whose release download infra/weaviate/install uses."""
    execute([sys.executable, "-m", "venv", "--clear", str(ROOT / ".tools")], log)
    execute([str(ROOT / ".tools/bin/python"), "-m", "pip", "install", "-q", f"uv=={UV_VERSION}"], log)
    pins = str(REQUIREMENTS / "pipeline.txt")
    execute([str(UV), "pip", "install", "-p", str(ROOT / ".tools/bin/python"), "-c", pins, "weaviate-client"], log)


def torch_build(log: Path) -> str:
    """`cpu` where there is no NVIDIA GPU and PyTorch's CPU index answers, else `plain`. Decided once a clone."""
    decided = STATE / "torch_build"
    if decided.exists():
        return decided.read_text()
    build = "plain"
    if sys.platform == "linux" and not nvidia_gpu():
        probe = [str(UV), "pip", "install", "-p", str(ROOT / ".tools/bin/python"), "--dry-run", "--no-deps", "--torch-backend", "cpu", pinned("torch")]
        patience = {"UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "0"}
        try:
            done = subprocess.run(probe, capture_output=True, text=True, timeout=60, env={**os.environ, **patience})
            build = "cpu" if done.returncode == 0 else "plain"
            log.open("a").write(done.stderr)
        except subprocess.TimeoutExpired:
            pass  # an index that does not answer is the plain release's case
    reasons = {"cpu": "CPU build: no NVIDIA GPU, its index answers", "plain": "plain release: " + ("NVIDIA GPU found" if nvidia_gpu() else "PyTorch's CPU index cannot be reached")}
    say(f"torch: {reasons[build]}")
    decided.write_text(build)
    return build


def nvidia_gpu() -> bool:
    if not shutil.which("nvidia-smi"):
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0


def pinned(package: str) -> str:
    lines = (REQUIREMENTS / "pipeline.txt").read_text().splitlines()
    return next(line.split(";")[0].strip() for line in lines if line.startswith(f"{package}=="))


def environment_step(name: str, folder: str, lists: tuple[str, ...], after: tuple[str, ...]) -> Step:
    python = ROOT / folder / "bin" / "python"
    files = [REQUIREMENTS / f"{item}.txt" for item in lists]

    def make(log: Path) -> None:
        if not python.exists():
            execute([str(UV), "venv", "--clear", "-q", "-p", sys.executable, str(ROOT / folder)], log)
        wanted, backend = files, []
        if any("torch==" in file.read_text() for file in files) and torch_build(log) == "cpu":
            wanted, backend = [without_gpu_packages(file) for file in files], ["--torch-backend", "cpu"]
        execute([str(UV), "pip", "sync", "--compile-bytecode", *backend, "-p", str(python), *map(str, wanted)], log)

    return Step(name, digest(PYTHON, *files), python, make, after)


def without_gpu_packages(file: Path) -> Path:
    kept = [line for line in file.read_text().splitlines() if not GPU_PACKAGES.match(line)]
    target = STATE / f"cpu-{file.name}"
    target.write_text("\n".join(kept) + "\n")
    return target


def install_weaviate(log: Path) -> None:
    execute([str(ROOT / ".tools/bin/python"), str(ROOT / "infra/weaviate/install")], log)


def install_triton(log: Path) -> None:
    execute([str(ROOT / ".venv/bin/python"), str(ROOT / "infra/triton/install")], log)


def build_operator(log: Path) -> None:
    """DeepSpeed compiles its shared-memory operator at the first start (30 to 45 s): done here, beside the other steps."""
    search = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
    command = [str(ROOT / ".venv/bin/python"), "-m", "pipelines.finetuning.operator"]
    execute(command, log, {"PATH": search, "PYTHONPATH": str(ROOT)})


def steps() -> list[Step]:
    pipeline = REQUIREMENTS / "pipeline.txt"
    operator = ROOT / ".state" / "torch_extensions"
    weaviate = ROOT / "infra" / "weaviate"
    return [
        Step("system", digest(" ".join(SYSTEM_COMMANDS), PYTHON), STATE / "system.made", install_system_packages),
        Step("tools", digest(UV_VERSION, PYTHON, pinned("weaviate-client")), UV, install_tools, ("system",)),
        environment_step("pipeline", ".venv", ("pipeline", "dev"), ("tools",)),
        Step("weaviate", digest(weaviate / "install", weaviate / "version"), ROOT / ".state/weaviate/bin", install_weaviate, ("tools",)),
        environment_step("airflow", ".venv-airflow", ("airflow",), ("tools", "pipeline")),
        Step("deepspeed", digest(pipeline, ROOT / "pipelines/finetuning/operator.py"), operator, build_operator, ("pipeline",)),
        environment_step("triton", ".venv-triton", ("triton",), ("pipeline", "airflow")),  # one at a time: at once, uv unpacks torch twice and nothing is shared
        Step(
            "tritonserver",
            digest(REQUIREMENTS / "triton.txt", ROOT / "infra/triton/install", ROOT / "pipelines/serving/server.py"),
            ROOT / ".state/triton/proven",
            install_triton,
            ("triton", "pipeline"),
        ),
    ]


# --- running them --------------------------------------------------------------------------------------------------


def perform(step: Step, earlier: dict[str, "Future[None]"]) -> None:
    for name in step.after:
        if name in earlier:
            earlier[name].result()
    log = STATE / f"{step.name}.log"
    log.write_text("")
    began = time.monotonic()
    say(f"{step.name}: started (log: {log.relative_to(ROOT)})")
    step.make(log)
    (STATE / f"{step.name}.stamp").write_text(step.key)
    say(f"{step.name}: done in {time.monotonic() - began:.0f} s")


def remind(futures: dict[str, "Future[None]"], finished: threading.Event) -> None:
    while not finished.wait(30):
        say("still at work: " + ", ".join(name for name, future in futures.items() if future.running()))


def setup(*only: str) -> None:
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = [step for step in steps() if not step.current() and (not only or step.name in only)]
        if not wanted:
            return
        say(f"set-up of {ROOT.name}: {', '.join(step.name for step in wanted)}")
        from concurrent.futures import ThreadPoolExecutor  # here, since `make run` begins with a set-up that has nothing to do

        finished = threading.Event()
        futures: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(max_workers=len(wanted) + 1) as pool:
            for step in wanted:
                futures[step.name] = pool.submit(perform, step, futures)
            pool.submit(remind, futures, finished)
            for future in futures.values():
                future.exception()
            finished.set()
        failed = {name: future.exception() for name, future in futures.items() if future.exception()}
        if failed:
            raise SetupError("\n".join(f"{name}: {error}" for name, error in failed.items()) + "\nMend it and run `make setup` again: what is done stays done.")
        say("set-up complete")


def doctor() -> int:
    """Print one line a part: state, and the command that mends it. Exit code 1 when something is missing."""
    STATE.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[bool, str, str]] = []
    for command, package in SYSTEM_COMMANDS.items():
        rows.append((bool(shutil.which(command)), f"command {command}", f"sudo apt-get install {package}"))
    rows.append((venv_works(), "Python's venv module", f"sudo apt-get install python{PYTHON}-venv"))
    rows.append((headers_found(), "Python's headers", f"sudo apt-get install python{PYTHON}-dev"))
    rows += [(step.current(), f"set-up step {step.name}", "make setup") for step in steps()]
    for good, what, remedy in rows:
        print(f"{'ok     ' if good else 'MISSING'} {what}" + ("" if good else f"    -> {remedy}"))
    build = STATE / "torch_build"
    print(f"info    Python {sys.version.split()[0]}; torch build: {build.read_text() if build.exists() else 'not decided yet'}; NVIDIA GPU: {'yes' if nvidia_gpu() else 'no'}")
    outside = os.environ.get("WEAVIATE_URL")
    print(
        f"info    Weaviate: {outside + ' (WEAVIATE_URL)' if outside else 'embedded in this clone'}; Go: {'yes' if shutil.which('go') else 'no (needed only where the Weaviate release cannot be downloaded)'}"
    )
    for tests, packages in TEST_PROGRAMS.items():
        missing = " ".join(package for package, file in packages.items() if not Path(file).exists())
        print(f"info    {tests}: " + (f"skipped here; sudo apt-get install {missing}" if missing else "has its programs"))
    return 0 if all(good for good, _, _ in rows) else 1


def lock() -> None:
    """Pin the groups. dev is pinned within what pipeline has, since they share an environment."""
    for group in ("pipeline", "airflow", "triton", "dev"):
        within = ["-c", str(REQUIREMENTS / "pipeline.txt")] if group == "dev" else []
        target = str(REQUIREMENTS / f"{group}.txt")
        command = [str(UV), "pip", "compile", "-q", "--universal", "--python-version", "3.11", "--no-annotate", "--no-header"]
        subprocess.run([*command, "--group", group, *within, "-o", target], check=True, cwd=ROOT)


def main(arguments: list[str]) -> int:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        print(f"Python {PYTHON} is not supported: 3.11 to 3.13 are. Name one: make PYTHON=python3.11 {'setup'}", file=sys.stderr)
        return 2
    try:
        if arguments == ["doctor"]:
            return doctor()
        if arguments == ["airflow"]:
            setup("system", "tools", "airflow")
        elif arguments == ["lock"]:
            lock()
        elif arguments:
            print(__doc__, file=sys.stderr)
            return 2
        else:
            setup()
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up interrupted: run it again, what is done stays done", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
