"""The body of POST /v1/chat/completions: what of OpenAI's parameters can be honoured.

The assistant answers from its documents with a prompt of its own, greedily, one answer at a time.
A parameter that asks for anything else is refused; a parameter that asks for exactly this is taken.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipelines.gateway.api_errors import InvalidRequest

MAX_NAME = 256  # characters of `user` and of a stop text
MAX_STOPS = 4  # as OpenAI has it
MAX_TOKENS = 2**31 - 1  # what Triton's message holds; a release allows far fewer


def _check_encoding(text: str) -> str:
    """JSON can spell half a character, which is no text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half of a surrogate pair") from error
    return text


def _check_stops(stops: str | list[str]) -> str | list[str]:
    texts = [stops] if isinstance(stops, str) else stops
    if len(texts) > MAX_STOPS or not all(0 < len(text) <= MAX_NAME for text in texts):
        raise ValueError(f"at most {MAX_STOPS} texts of 1 to {MAX_NAME} characters")
    return stops


Text = Annotated[str, AfterValidator(_check_encoding)]


class Body(BaseModel):
    """No unknown keys, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(Body):
    type: Literal["text"]
    text: Text


class UserMessage(Body):
    role: Literal["user"]
    content: Text | list[TextPart]


class AssistantMessage(Body):
    """An earlier answer, as clients send it back: with its annotations, too."""

    role: Literal["assistant"]
    content: Text | list[TextPart] | None = None
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None


class SystemMessage(Body):
    """Read so that the refusal can say why."""

    role: Literal["system", "developer"]
    content: Text | list[TextPart]


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class TextFormat(Body):
    type: Literal["text"]


Message = Annotated[UserMessage | AssistantMessage | SystemMessage, Field(discriminator="role")]
NoTools = Annotated[list[Any], Field(max_length=0)]
StopTexts = Annotated[Text | list[Text], AfterValidator(_check_stops)]
Zero = Annotated[float, Field(ge=0, le=0)]
WholeNucleus = Annotated[float, Field(ge=1, le=1)]


class ChatRequest(Body):
    """The parameters, each with the values that describe what the assistant does."""

    model: Text = Field(json_schema_extra={"enum": ["assistant"]})
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    user: Text | None = Field(None, max_length=MAX_NAME)
    stop: StopTexts | None = None
    n: Literal[1] | None = None
    seed: int | None = None  # the same question always gets the same answer
    temperature: Zero | None = None
    top_p: WholeNucleus | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logprobs: Literal[False] | None = None
    response_format: TextFormat | None = None
    tools: NoTools | None = None
    tool_choice: Literal["none"] | None = None
    store: Literal[False] | None = None

    def questions(self) -> list[str]:
        """What the person has written, oldest first. Raises InvalidRequest."""
        texts: list[str] = []
        for number, message in enumerate(self.messages):
            if isinstance(message, SystemMessage):
                raise InvalidRequest(
                    f"messages[{number}]: this assistant has a prompt of its own and takes no "
                    f"message of role {message.role}",
                    param=f"messages[{number}].role",
                    code="unsupported_value",
                )
            if isinstance(message, UserMessage):
                texts.append(_text(message.content))
        if not isinstance(self.messages[-1], UserMessage):
            raise InvalidRequest(
                "the last message must be the user's question", param="messages", code="no_question"
            )
        if not texts[-1].strip():
            raise InvalidRequest("the question is empty", param="messages", code="no_question")
        return texts

    def stops(self) -> list[str]:
        """The texts before the first of which the answer ends."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    def num_new_tokens(self) -> int:
        """Tokens of the longest answer that is wanted; 0: as many as the release allows."""
        limits = [self.max_tokens, self.max_completion_tokens]
        return min((limit for limit in limits if limit is not None), default=0)


def _text(content: str | list[TextPart]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content)
