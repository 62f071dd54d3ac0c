// The operator's page: reads /v1/operator and shows it. Text of others is only ever set as text.
"use strict";

const REFRESH_MILLISECONDS = 30_000;
const SVG = "http://www.w3.org/2000/svg";
const CHART = { width: 960, height: 110, gap: 6 };
const OUTCOMES = { no_drift: "No drift", drift: "Drift", cannot_tell: "Cannot tell" };

// --- small parts ---

function node(tag, text = "", className = "") {
  const result = document.createElement(tag);
  result.textContent = text;
  if (className) result.className = className;
  return result;
}

function table(titles, rows) {
  const result = node("table");
  const head = result.createTHead().insertRow();
  for (const [title, className] of titles) {
    const cell = node("th", title, className);
    cell.scope = "col";
    head.append(cell);
  }
  const body = result.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((value, index) => {
      const cell = node("td", "", titles[index][1]);
      cell.append(value);
      line.append(cell);
    });
  }
  return result;
}

const money = (value) => value.toLocaleString("en", { maximumFractionDigits: 4 });
const percent = (value) => `${Math.round(value * 100)} %`;
const count = (value) => value.toLocaleString("en");
const moment = (value) => new Date(value).toISOString().slice(0, 16).replace("T", " ");

// --- the parts of the page; each returns what to show ---

const PARTS = {
  live({ releases, is_switching }) {
    if (!releases.length) return [node("p", "No release is served.", "figure")];
    const sorted = [...releases].sort((a, b) => b.share - a.share);
    const lines = [node("p", sorted[0].release_id, "figure")];
    for (const { release_id, share } of sorted.length > 1 ? sorted : []) {
      lines.push(node("p", `${percent(share)} of the askers: ${release_id}`, "note"));
    }
    let state = "It answers everything.";
    if (sorted.length > 1) state = "Two releases share the askers.";
    if (is_switching) state = "A new release is taking over.";
    lines.push(node("p", state, "note quiet"));
    return lines;
  },

  drift(decision) {
    if (!decision) return [node("p", "The traffic has not been judged yet.", "quiet")];
    const isBad = decision.outcome !== "no_drift";
    return [
      node("p", OUTCOMES[decision.outcome], "figure"),
      node("p", decision.reason, "note"),
      node("span", `reaction: ${decision.reaction.replace("_", " ")}`, isBad ? "badge bad" : "badge"),
      node("p", `${decision.window}, judged ${moment(decision.when)} UTC`, "note quiet"),
    ];
  },

  traffic({ requests, answered, under_way }) {
    const total = requests.reduce((sum, value) => sum + value, 0);
    const good = answered.reduce((sum, value) => sum + value, 0);
    const legend = node("p", "", "quiet");
    legend.append(node("span", "", "key answered"), "answered", node("span", "", "key other"));
    legend.append("ended otherwise");
    const share = total ? `, ${percent(good / total)} answered` : "";
    const sum = node("p", `${count(total)} requests${share}`, "figure");
    const axis = node("p", "", "axis quiet");
    const most = `now; the busiest hour had ${count(Math.max(...requests))}`;
    axis.append(node("span", "24 hours ago"), node("span", most));
    const now = node("p", `${under_way} under way now`, "note quiet");
    return [sum, now, chart(requests, answered), axis, legend];
  },

  costs({ month, total, tenants }) {
    const rows = tenants.map((bill) => [bill.name, count(bill.num_requests), money(bill.cost)]);
    const titles = [["tenant"], ["requests", "number"], ["cost", "number"]];
    const sum = node("p", money(total), "figure");
    return [sum, node("p", `${month}, in the currency of serve.prices`, "note quiet"), table(titles, rows)];
  },

  budgets(budgets) {
    if (!budgets.length) return [node("p", "No budget is set (gateway.limits).", "quiet")];
    const rows = budgets.map(({ owner, spent, budget }) => {
      const meter = document.createElement("meter");
      meter.max = budget || 1;
      meter.low = 0.8 * meter.max;
      meter.high = meter.max;
      meter.optimum = 0;
      meter.value = budget ? spent : 1;
      const state = `${money(spent)} of ${money(budget)}`;
      meter.setAttribute("aria-label", `${owner}: ${state}`);
      return [owner, meter, state];
    });
    return [table([["owner"], ["spent"], ["amount", "number"]], rows)];
  },

  events(events) {
    if (!events.length) return [node("p", "The ledger is empty.", "quiet")];
    const titles = [["when (UTC)"], ["what"], ["release"], ["who"], ["why"]];
    const rows = events.map((event) => [
      moment(event.when),
      event.kind.replace("_", " "),
      event.page ? reportLink(event.release_id, event.page) : (event.release_id ?? ""),
      event.who,
      event.why,
    ]);
    return [table(titles, rows)];
  },

  runs(runs) {
    if (!runs.length) return [node("p", "None.", "quiet")];
    return runs.map((name) => node("p", name, "note"));
  },
};

function chart(requests, answered) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${CHART.width} ${CHART.height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const most = Math.max(1, ...requests);
  svg.setAttribute("aria-label", `Requests by hour, oldest first: ${requests.join(", ")}`);
  const floor = CHART.height - 1;
  const step = CHART.width / requests.length;
  requests.forEach((value, hour) => {
    const x = hour * step + CHART.gap / 2;
    const whole = (value / most) * floor;
    const good = (answered[hour] / most) * floor;
    svg.append(bar("other", x, floor - whole, step, whole - good));
    svg.append(bar("answered", x, floor - good, step, good));
  });
  const base = document.createElementNS(SVG, "line");
  const ends = { x1: 0, x2: CHART.width, y1: floor, y2: floor, class: "base" };
  for (const [name, value] of Object.entries(ends)) base.setAttribute(name, value);
  svg.append(base);
  return svg;
}

function bar(className, x, y, step, height) {
  const result = document.createElementNS(SVG, "rect");
  const fields = { x, y, width: step - CHART.gap, height: Math.max(0, height), class: className };
  for (const [name, value] of Object.entries(fields)) result.setAttribute(name, value);
  return result;
}

function reportLink(title, url) {
  const link = node("a", title);
  link.href = url;
  link.target = "_blank";
  link.rel = "noopener";
  return link;
}

function reportLinks(reports) {
  if (!reports.length) return [node("p", "There are no reports yet: make run.", "quiet")];
  return reports.map(({ title, url, time }) => {
    const line = node("p", "", "note");
    line.append(reportLink(title, url), node("span", ` ${moment(time * 1000)} UTC`, "quiet"));
    return line;
  });
}

// --- reading ---

async function read() {
  return (await call("/v1/operator")).json();
}

function show(content) {
  for (const [name, part] of Object.entries(PARTS)) {
    const { content: value, problem } = content[name];
    const shown = problem === null ? part(value) : [node("p", problem, "problem")];
    element(name).replaceChildren(...shown);
  }
  element("reports").replaceChildren(...reportLinks(content.reports));
  element("read-time").textContent = `${moment(content.time * 1000)} UTC`;
  element("problem").textContent = "";
  element("parts").hidden = false;
}

async function refresh() {
  try {
    show(await read());
  } catch (problem) {
    const isKeys = problem.status === 401 || problem.status === 403;
    if (isKeys) openKeyDialog(problem.message);
    element("problem").textContent = isKeys ? "" : problem.message;
    element("parts").hidden = isKeys;
  }
}

acceptKeys(async () => show(await read()));
element("refresh").addEventListener("click", refresh);

setInterval(() => {
  if (!document.hidden && !element("key-dialog").open) refresh();
}, REFRESH_MILLISECONDS);
if (sessionStorage.getItem(KEY)) refresh();
else openKeyDialog();
