"""The e-mail about a failure, sent by Airflow's own notifier to a mail server of the test."""

import base64
import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEND_FAILURE = """
from airflow.sdk import DAG
from dags import tasks
from pipelines.config.airflow import AirflowConfig

settings = tasks.load_params().section(AirflowConfig)
assert tasks.notifiers(settings, "failed") == []

class Task:
    task_id = "chunk"
    log_url = "http://127.0.0.1/log"

settings = settings.model_copy(update={"notify": ["ada@example.org"]})
(notify,) = tasks.notifiers(settings, "failed")
error = ValueError("refused: <b>3 rows</b>")
notify({"dag": DAG("train"), "ti": Task(), "run_id": "manual__1", "exception": error})
"""


def test_a_failure_is_mailed_with_its_reason_to_those_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        lines: list[str] = []
        threading.Thread(target=receive_mail, args=(server, lines), daemon=True).start()
        connection = {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": server.getsockname()[1],
            "extra": {
                "from_email": "airflow@example.org",
                "disable_ssl": True,
                "disable_tls": True,
            },
        }
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(connection),
        }
        process = subprocess.run(
            [str(ROOT / ".venv-airflow/bin/python"), "-c", SEND_FAILURE],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )

    assert process.returncode == 0, process.stderr
    mail = "".join(lines)
    assert "To: ada@example.org" in mail
    assert "Subject: train: chunk failed in manual__1" in mail
    content = mail.split("base64", 1)[1].split("--==", 1)[0]
    body = base64.b64decode(re.sub(r"\s", "", content)).decode()
    assert "refused: &lt;b&gt;3 rows" in body  # what a document holds cannot become markup
    assert "http://127.0.0.1/log" in body


def receive_mail(server: socket.socket, lines: list[str]) -> None:
    """The server's side of one SMTP conversation (RFC 5321)."""
    with server.accept()[0] as connection, connection.makefile("rwb") as stream:
        in_mail = False

        def reply(text: str) -> None:
            stream.write(text.encode() + b"\r\n")
            stream.flush()

        reply("220 ready")
        for line in stream:
            if in_mail and line.strip() != b".":
                lines.append(line.decode())
            elif line[:4].upper() == b"DATA":
                in_mail = True
                reply("354 go on")
            else:
                in_mail = False
                reply("221 bye" if line[:4].upper() == b"QUIT" else "250 done")
