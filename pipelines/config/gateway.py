"""`gateway` of params.yaml: the front door for people and programs. No stage reads it."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.config.protection import OPENING
from pipelines.config.section import Section
from pipelines.config.token_issuer import TokenIssuer

Action = Literal["off", "flag", "block"]
Guard = Literal[
    "injection", "personal_question", "personal_answer", "secret_answer", "toxic_answer"
]


class Allowance(Section):
    """What a key, or all keys of a tenant together, may use. null: no limit."""

    requests_per_minute: int | None = Field(ge=1, description="requests accepted in a minute")
    tokens_per_minute: int | None = Field(
        ge=1, description="tokens read and written in a minute, estimated before the work"
    )
    concurrent_requests: int | None = Field(ge=1, description="requests under way at once")
    monthly_budget: float | None = Field(
        ge=0, description="in a calendar month (UTC), in the currency of serve.prices"
    )


class Limits(Section):
    """What is refused with status 429."""

    failed_keys_per_minute: int = Field(
        ge=1, description="wrong keys or tokens from one address that are told why they are refused"
    )
    key: Allowance = Field(description="of each key")
    tenant: Allowance = Field(description="of all keys of a tenant together")


class Alerts(Section):
    """What is said when a budget is nearly spent, once a month for each budget and share."""

    budget_shares: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        description="of a monthly budget, with what is set aside for requests under way"
    )
    mail_from: str | None = Field(description="sender of e-mails, by GATEWAY_SMTP_URL")
    mail_to: list[str] = Field(description="receivers of e-mails; empty: none are sent")

    @model_validator(mode="after")
    def _check_sender(self) -> Self:
        if self.mail_to and self.mail_from is None:
            raise ValueError("mail_to needs a mail_from")
        return self


class GuardSettings(Section):
    """off: not looked for | flag: noted in the log | block: refused or withheld."""

    injection: Action = Field(description="questions that try to give the assistant other orders")
    personal_question: Action = Field(
        description="personal data in a question; flag redacts it before it is worked on and logged"
    )
    personal_answer: Action = Field(description="personal data in an answer")
    secret_answer: Action = Field(description="keys, passwords or the prompt in an answer")
    toxic_answer: Action = Field(description="profane or insulting answers")


class Guards(Section):
    """What is looked for in questions and answers, for each tenant."""

    min_toxicity: float = Field(
        gt=0, lt=1, description="probability from which a sentence of an answer counts as toxic"
    )
    default: GuardSettings = Field(description="of every tenant that is not named")
    tenants: dict[str, dict[Guard, Action]] = Field(
        description="tenant -> the guards that differ from the default"
    )

    def of(self, tenant: str) -> GuardSettings:
        """The settings of a tenant."""
        changes: dict[str, Any] = {}
        for guard, action in self.tenants.get(tenant, {}).items():
            changes[guard] = action
        return self.default.model_copy(update=changes)


class Cache(Section):
    """Answers that are kept, and given again to the same question."""

    entries: int = Field(ge=0, description="answers that are kept; 0: none")
    ttl_seconds: float = Field(gt=0, description="after which an answer is not given again")
    shared_between_tenants: bool = Field(
        description="true: every tenant may read the same documents, so that one's answer may be "
        "given to another"
    )


class Batches(Section):
    """Files of requests that are answered beside live ones, for each tenant."""

    max_file_bytes: int = Field(ge=1024, description="of the longest file")
    max_files: int = Field(ge=1, description="uploaded files of a tenant at once")
    max_lines: int = Field(ge=1, description="requests of a batch")
    max_open: int = Field(ge=1, description="batches of a tenant that have not ended")
    upload_seconds: float = Field(gt=0, description="for a whole file to arrive")
    keep_days: float = Field(gt=0, description="after which a file or an ended batch is removed")
    lines_at_once: int = Field(ge=1, description="requests of batches that a gateway works on")
    free_places: int = Field(
        ge=1, description="of serve.max_requests_at_once, which batches leave to live requests"
    )


class GatewayConfig(Section):
    """Where the gateway listens, and what it accepts."""

    host: str = Field(
        min_length=1, description="address on which it listens; 0.0.0.0: on every interface"
    )
    port: int = Field(ge=1, le=65535, description="port on which it listens")
    tls_certificate: str | None = Field(
        description="file with the certificate and those of its issuers, PEM; null: plain HTTP"
    )
    tls_key: str | None = Field(description="file with its private key, without a password, PEM")
    trusted_proxies: list[str] = Field(
        description="addresses of proxies whose X-Forwarded-For names the client's address"
    )
    oidc: TokenIssuer | None = Field(
        json_schema_extra=OPENING,
        description="whose tokens are accepted beside keys (OpenID Connect); null: nobody's",
    )
    max_body_bytes: int = Field(ge=1024, description="a longer request is refused unread")
    max_messages: int = Field(ge=1, description="messages of the longest conversation")
    max_texts: int = Field(ge=1, description="texts of one request for embeddings")
    read_seconds: float = Field(gt=0, description="for a whole request to arrive")
    write_seconds: float = Field(gt=0, description="for a client to take the next piece")
    answer_seconds: float = Field(gt=0, description="for an answer; it then ends with an error")
    cache: Cache = Field(description="answers that are given again to the same question")
    batches: Batches = Field(description="files of requests, answered beside live ones")
    limits: Limits = Field(description="what is refused with status 429")
    alerts: Alerts = Field(description="what is said when a budget is nearly spent")
    guards: Guards = Field(description="what is looked for in questions and answers")

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are set together, or both null")
        return self
