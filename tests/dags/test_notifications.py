import base64
import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAILURE = """
from airflow.sdk import DAG
from dags import parts
values = parts.settings()
values = values.model_copy(update={"airflow": values.airflow.model_copy(update={"notify": ["ada@example.org"]})})
class Task:
    task_id, log_url = "chunk", "http://127.0.0.1/log"
(notify,) = parts.notifiers(values, "failed")
notify({"dag": DAG("train"), "ti": Task(), "run_id": "manual__1", "exception": ValueError("refused: <b>3 rows</b>")})
assert parts.notifiers(parts.settings(), "failed") == []
"""


def test_a_failure_is_mailed_with_its_reason_to_those_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        received: list[str] = []
        threading.Thread(target=one_mail, args=(server, received), daemon=True).start()
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.getsockname()[1], "extra": {"from_email": "airflow@example.org", "disable_ssl": True, "disable_tls": True}}
        settings = {"AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(connection)}
        done = subprocess.run([str(ROOT / ".venv-airflow/bin/python"), "-c", FAILURE], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **settings}, timeout=120)

    assert done.returncode == 0, done.stderr
    mail = "".join(received)
    assert "To: ada@example.org" in mail
    assert "Subject: train: chunk failed in manual__1" in mail
    body = base64.b64decode(re.sub(r"\s", "", mail.split("base64", 1)[1].split("--==", 1)[0])).decode()
    assert "refused: &lt;b&gt;3 rows" in body  # what a document holds cannot become markup
    assert "http://127.0.0.1/log" in body


def one_mail(server: socket.socket, received: list[str]) -> None:
    """The server's side of one SMTP conversation (RFC 5321)."""
    with server.accept()[0] as connection, connection.makefile("rwb") as stream:
        in_mail = False

        def say(text: str) -> None:
            stream.write(text.encode() + b"\r\n")
            stream.flush()

        say("220 ready")
        for line in stream:
            if in_mail and line.strip() != b".":
                received.append(line.decode())
            elif line[:4].upper() == b"DATA":
                in_mail = True
                say("354 go on")
            else:
                in_mail = False
                say("221 bye" if line[:4].upper() == b"QUIT" else "250 done")
