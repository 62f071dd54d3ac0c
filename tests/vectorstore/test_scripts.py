"""Questions in scripts without blanks between words, by words alone, in a real Weaviate."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.runtime import passage_search
from pipelines.runtime.passage_search import Query
from pipelines.vectorstore import build_index, open_index, server_address
from tests.vectorstore.conftest import write_source

# Question -> the passage that answers it.
PASSAGES = {
    "怎么修改端口？": "要修改服务器的端口,请编辑配置文件中的端口一行,然后重新启动服务。",
    "忘记密码怎么办": "如果忘记密码,管理员可以在用户页面上重设密码。",
    "备份保存多久": "每天夜里备份一次数据库。备份保存三十天,之后自动删除。",
    "假期需要谁批准": "员工的假期由部门经理批准,申请至少提前两周。",
    "打印机在哪里": "彩色打印机在二楼的会议室旁边。",
    "ログの場所はどこですか": "ログは設定のフォルダに保存され、場所は変更できます。",
    "パスワードを変更するには": "パスワードを変更するには、設定画面でアカウントを開きます。",
    "会議室の予約方法": "会議室の予約は受付のカレンダーで行います。",
    "ｻｰﾊﾞｰの再起動": "サーバーの再起動は管理者だけが実行できます。",
    "วิธีเปลี่ยนรหัสผ่าน": "หากต้องการเปลี่ยนรหัสผ่าน ให้เปิดหน้าการตั้งค่าแล้วเลือกบัญชี",
    "สำรองข้อมูลเมื่อไร": "ระบบสำรองข้อมูลทุกคืนและเก็บไว้สามสิบวัน",
    "ห้องประชุมอยู่ชั้นไหน": "ห้องประชุมใหญ่อยู่ชั้นสองติดกับลิฟต์",
    "Which port does the server use?": "The server listens on port 8080.",
}


def test_each_question_finds_its_passage_by_its_words(
    serving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vectors, which are all the same, say nothing."""
    source = write_source(tmp_path, dict.fromkeys(PASSAGES.values(), [1.0, 0.0, 0.0]))
    receipt = build_index(*source, keep=1, sample=4, hybrid_alpha=0.0)
    vector = np.array([1.0, 0.0, 0.0], dtype=np.float32)
    with open_index(receipt, *source) as index:
        for question, passage in PASSAGES.items():
            assert index.search(question, vector, 3)[0].text == passage
    with server_address() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        in_triton = passage_search.Index(receipt.collection, 10.0)
        for question, passage in PASSAGES.items():
            hits = in_triton.search(Query(question, vector.tolist(), 0.0), 3)
            assert hits[0]["text"] == passage
