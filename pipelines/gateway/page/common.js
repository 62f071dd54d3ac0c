// What both pages share: the key, the theme, and requests to the gateway.
"use strict";

const KEY = "assistant-key"; // in the tab's session storage
const THEME = "assistant-theme";
const element = (id) => document.getElementById(id);

// --- key ---

function openKeyDialog(problem = "") {
  element("key-problem").textContent = problem;
  element("key").value = "";
  if (!element("key-dialog").open) element("key-dialog").showModal();
  element("key").focus();
}

// `tryKey` asks the gateway for something with the new key, and fails if it is no good.
function acceptKeys(tryKey) {
  element("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const before = sessionStorage.getItem(KEY);
    sessionStorage.setItem(KEY, element("key").value.trim());
    try {
      await tryKey();
      element("key-dialog").close();
    } catch (problem) {
      if (before === null) sessionStorage.removeItem(KEY);
      else sessionStorage.setItem(KEY, before);
      element("key-problem").textContent = problem.message;
    }
  });
  element("change-key").addEventListener("click", () => openKeyDialog());
}

// --- the gateway ---

async function call(path, body, signal) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ""}` };
  const options = { headers, signal };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    options.method = "POST";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  if (!response.ok) {
    const problem = new Error(await messageOf(response));
    problem.status = response.status;
    throw problem;
  }
  return response;
}

async function messageOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered with status ${response.status}.`;
  }
}

// --- dark and light ---

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  element("theme").textContent = isDark() ? "Light" : "Dark";
}

element("theme").addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  sessionStorage.setItem(THEME, theme);
  setTheme(theme);
});

setTheme(sessionStorage.getItem(THEME));
