// The page for people: asks the gateway as any client of OpenAI's API would, and shows the answer
// as it is written. Text of others is only ever set as text, never as markup.
"use strict";

const MAX_MESSAGES = 21; // of the conversation that are sent along: the newest, an odd number

let messages = [];
let request = null; // the AbortController of the answer that is being written

acceptKeys(() => call("/v1/models"));
element("key-dialog").addEventListener("close", () => element("question").focus());

// --- the gateway ---

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

// --- a turn of the conversation ---

async function ask(question) {
  const turn = element("turn").content.firstElementChild.cloneNode(true);
  turn.querySelector(".asked").textContent = question;
  element("turns").append(turn);
  element("welcome").hidden = true;
  turn.scrollIntoView({ block: "end" });
  messages.push({ role: "user", content: question });
  setBusy(new AbortController());
  const answer = { text: "", annotations: [], requestId: "", releaseId: "" };
  try {
    await receive(answer, turn.querySelector(".answer"));
    messages.push({ role: "assistant", content: answer.text });
    showEnd(turn, answer);
  } catch (problem) {
    messages.pop(); // what was not answered is not part of the conversation
    showProblem(turn, problem);
  } finally {
    turn.querySelector(".answer").setAttribute("aria-busy", "false");
    setBusy(null);
    turn.scrollIntoView({ block: "end" });
    if (!element("key-dialog").open) element("question").focus();
  }
}

async function receive(answer, target) {
  const body = { model: "assistant", stream: true, messages: messages.slice(-MAX_MESSAGES) };
  const response = await call("/v1/chat/completions", body, request.signal);
  answer.requestId = response.headers.get("x-request-id");
  answer.releaseId = response.headers.get("x-release-id");
  let isComplete = false;
  for await (const event of eventsOf(response)) {
    if (event.error) throw new Error(event.error.message);
    const [choice] = event.choices;
    answer.text += choice.delta.content ?? "";
    answer.annotations = choice.delta.annotations ?? answer.annotations;
    isComplete ||= choice.finish_reason !== null;
    target.textContent = answer.text;
  }
  if (!isComplete) throw new Error("The connection ended before the answer did.");
}

function showProblem(turn, problem) {
  const isStopped = problem.name === "AbortError";
  const line = turn.querySelector(".problem");
  line.textContent = isStopped ? "Stopped." : problem.message;
  line.hidden = false;
  if (problem.status === 401) openKeyDialog(problem.message);
}

function showEnd(turn, answer) {
  const passages = turn.querySelector(".passages");
  answer.annotations.forEach((note, index) => passages.append(passageItem(note, index + 1)));
  turn.querySelector("h3").hidden = answer.annotations.length === 0;
  showMarks(turn.querySelector(".answer"), answer.text, passages);
  const origin = `Release ${answer.releaseId}, request ${answer.requestId}`;
  turn.querySelector(".origin").textContent = origin;
  turn.querySelector(".after").hidden = false;
  addFeedback(turn, answer.requestId);
}

function passageItem(note, number) {
  const passage = note.passage;
  const item = document.createElement("li");
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const quote = document.createElement("blockquote");
  const pages = passage.pages?.length ? `, page ${passage.pages.join(", ")}` : "";
  const section = [passage.uri, ...passage.headings].join(" › ");
  summary.textContent = `[${number}] ${section}${pages}`;
  quote.textContent = passage.text ?? "This release does not send the text of its passages.";
  details.append(summary, quote);
  item.append(details);
  return item;
}

// Marks such as [1] become buttons that open the passage.
function showMarks(target, text, passages) {
  target.replaceChildren();
  for (const part of text.split(/(\[\d+\])/)) {
    const number = Number(/^\[(\d+)\]$/.exec(part)?.[1]);
    const details = passages.children[number - 1]?.firstElementChild;
    if (!details) {
      target.append(part);
      continue;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.className = "mark";
    button.textContent = number;
    button.setAttribute("aria-label", `Open passage ${number}`);
    button.addEventListener("click", () => {
      details.open = true;
      details.querySelector("summary").focus();
    });
    target.append(button);
  }
}

// --- feedback ---

function addFeedback(turn, requestId) {
  const form = turn.querySelector(".correction");
  const down = turn.querySelector(".down");
  turn.querySelector(".up").addEventListener("click", () => {
    give(turn, { request_id: requestId, thumb: "up" });
  });
  down.addEventListener("click", () => {
    form.hidden = !form.hidden;
    down.setAttribute("aria-pressed", String(!form.hidden));
    if (form.hidden) return;
    form.scrollIntoView({ block: "end" });
    form.querySelector("textarea").focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const correction = form.querySelector("textarea").value.trim();
    give(turn, { request_id: requestId, thumb: "down", ...(correction && { correction }) });
  });
}

async function give(turn, body) {
  const noted = turn.querySelector(".noted");
  try {
    await call("/v1/feedback", body);
    noted.textContent = "Thank you, noted.";
    turn.querySelector(".correction").hidden = true;
    turn.querySelectorAll(".feedback button").forEach((button) => (button.disabled = true));
  } catch (problem) {
    noted.textContent = problem.message;
  }
}

// --- the form, the keyboard, the colours ---

function setBusy(controller) {
  request = controller;
  element("send").disabled = controller !== null;
  element("stop").hidden = controller === null;
}

function fitQuestion() {
  const box = element("question");
  box.rows = Math.min(8, box.value.split("\n").length);
}

element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = element("question").value.trim();
  if (!question || request) return;
  element("question").value = "";
  fitQuestion();
  ask(question);
});
element("question").addEventListener("input", fitQuestion);
element("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    element("ask").requestSubmit();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") request?.abort();
});
element("stop").addEventListener("click", () => request?.abort());
element("restart").addEventListener("click", () => {
  request?.abort();
  messages = [];
  element("turns").replaceChildren();
  element("welcome").hidden = false;
  element("question").focus();
});

if (sessionStorage.getItem(KEY)) element("question").focus();
else openKeyDialog();
