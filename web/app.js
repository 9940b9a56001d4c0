// The page: one log of replies, one composer, one drawer of settings.

import * as api from "./api.js";
import { chooseLanguage, examples, language, translate, word } from "./words.js";

const at = (id) => document.getElementById(id);
const dials = [
  { name: "temperature", min: 0, max: 2, step: 0.05, value: 0.8 },
  { name: "max_tokens", min: 1, max: 512, step: 1, value: 128 },
  { name: "top_p", min: 0, max: 1, step: 0.01, value: 0.95 },
  { name: "top_k", min: 0, max: 200, step: 1, value: 0 },
  { name: "min_p", min: 0, max: 1, step: 0.01, value: 0 },
  { name: "repetition_penalty", min: 0.5, max: 2, step: 0.01, value: 1.1 },
];
const page = { mode: "complete", running: null, turns: [], storesFeedback: false, chatTemplate: true };

// ---- words, theme, mode -------------------------------------------------------------------------

function showLanguage(chosen) {
  chooseLanguage(chosen);
  localStorage.setItem("danlu-language", language());
  document.documentElement.lang = language() === "zh" ? "zh-Hans" : "en";
  translate(document);
  at("language").textContent = language() === "zh" ? "EN" : "中";
  at("language").setAttribute("aria-label", language() === "zh" ? "English" : "中文");
  at("hint").textContent = word("hint");
  for (const turn of document.querySelectorAll(".reply")) turn.describe?.();
  showMode(page.mode);
  showRunning();
}

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

function toggleTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("danlu-theme", theme);
  showTheme(theme);
}

function showMode(mode) {
  page.mode = mode;
  const chat = mode === "chat";
  at("mode-chat").setAttribute("aria-pressed", chat);
  at("mode-complete").setAttribute("aria-pressed", !chat);
  at("prompt").placeholder = word(chat ? "chatPlaceholder" : "completePlaceholder");
  at("welcome-text").textContent = word(chat ? "welcomeChat" : "welcomeComplete");
  at("system-field").hidden = !chat;
  at("examples").replaceChildren(...examples[mode].map((text) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", () => fill(text));
    return button;
  }));
}

function changeMode(mode) {
  if (mode === page.mode) return;
  clear();
  showMode(mode);
  if (mode === "chat" && !page.chatTemplate) notify(word("noTemplate"));
}

// ---- settings -----------------------------------------------------------------------------------

function makeDial(dial) {
  const field = document.createElement("div");
  field.className = "field dial";
  const label = Object.assign(document.createElement("label"), { htmlFor: `dial-${dial.name}` });
  label.dataset.word = dial.name;
  const number = Object.assign(document.createElement("input"), {
    type: "number", id: `dial-${dial.name}`, min: dial.min, max: dial.max, step: dial.step, inputMode: "decimal",
  });
  const range = Object.assign(document.createElement("input"), {
    type: "range", min: dial.min, max: dial.max, step: dial.step, tabIndex: -1,
  });
  range.setAttribute("aria-hidden", "true");
  const help = document.createElement("p");
  help.className = "help";
  help.dataset.word = `${dial.name}Help`;
  const show = (value) => { number.value = value; range.value = value; };
  number.addEventListener("input", () => { range.value = number.value; keepSettings(); });
  range.addEventListener("input", () => { number.value = range.value; keepSettings(); });
  field.append(label, number, range, help);
  dial.read = () => (number.value.trim() === "" ? dial.value : Number(number.value));
  dial.show = show;
  dial.limit = (most) => { number.max = most; range.max = most; show(Math.min(dial.read(), most)); };
  return field;
}

function makeText(name, tag) {
  const field = document.createElement("div");
  field.className = "field";
  const label = Object.assign(document.createElement("label"), { htmlFor: `dial-${name}` });
  label.dataset.word = name;
  const input = document.createElement(tag);
  input.id = `dial-${name}`;
  if (tag === "textarea") input.rows = 2;
  else input.inputMode = "numeric";
  const help = document.createElement("p");
  help.className = "help";
  help.dataset.word = `${name}Help`;
  input.addEventListener("input", keepSettings);
  field.append(label, input, help);
  return field;
}

function keepSettings() {
  const kept = Object.fromEntries(dials.map((dial) => [dial.name, dial.read()]));
  kept.system = at("system").value;
  localStorage.setItem("danlu-settings", JSON.stringify(kept));
}

function loadSettings() {
  let kept = {};
  try { kept = JSON.parse(localStorage.getItem("danlu-settings")) ?? {}; } catch { /* unreadable: the defaults do */ }
  for (const dial of dials) dial.show(Number.isFinite(kept[dial.name]) ? kept[dial.name] : dial.value);
  at("system").value = typeof kept.system === "string" ? kept.system : "";
}

function resetSettings() {
  for (const dial of dials) dial.show(dial.value);
  for (const id of ["system", "dial-seed", "dial-stopField"]) at(id).value = "";
  keepSettings();
}

function samplingSettings() {
  const settings = Object.fromEntries(dials.map((dial) => [dial.name, dial.read()]));
  const seed = at("dial-seed").value.trim();
  if (/^-?\d{1,15}$/.test(seed)) settings.seed = Number(seed);
  const stops = at("dial-stopField").value.split("\n").filter((line) => line !== "");
  if (stops.length) settings.stop = stops;
  return settings;
}

function showSettings(open) {
  at("settings").hidden = !open;
  at("settings-toggle").setAttribute("aria-expanded", open);
}

// ---- the log ------------------------------------------------------------------------------------

function notify(text) {
  at("notice").textContent = text;
  at("notice").hidden = !text;
}

function fill(text) {
  at("prompt").value = text;
  fit(at("prompt"));
  at("prompt").focus();
}

// Grows a text field with its text; the style sheet limits it.
function fit(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

function nearEnd() {
  const log = at("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 80;
}

function toEnd() {
  at("log").scrollTop = at("log").scrollHeight;
}

function clear() {
  page.running?.stop.abort();
  page.turns = [];
  for (const turn of document.querySelectorAll(".turn")) turn.remove();
  at("welcome").hidden = false;
  at("clear").hidden = true;
  notify("");
}

function addUserTurn(text) {
  const turn = document.createElement("article");
  turn.className = "turn user";
  turn.textContent = text;
  at("log").append(turn);
  return turn;
}

function addReply(given) {
  const turn = at("reply-template").content.firstElementChild.cloneNode(true);
  translate(turn);
  const find = (selector) => turn.querySelector(selector);
  find(".given").textContent = given;
  turn.classList.add("streaming");
  turn.state = { id: null, given, text: "", outcome: null, seconds: 0, stopped: false };
  find(".continue").hidden = page.mode === "chat";
  find(".continue").addEventListener("click", () => fill(turn.state.given + turn.state.text));
  find(".copy").addEventListener("click", () => copy(turn));
  find(".up").addEventListener("click", () => rate(turn, 1));
  find(".down").addEventListener("click", () => rate(turn, -1));
  find(".correct").addEventListener("click", () => openCorrection(turn, find(".correction").hidden));
  find(".cancel").addEventListener("click", () => openCorrection(turn, false));
  find(".correction").addEventListener("submit", (event) => { event.preventDefault(); saveCorrection(turn); });
  turn.describe = () => describe(turn);
  at("log").append(turn);
  return turn;
}

function describe(turn) {
  const { outcome, seconds, stopped } = turn.state;
  if (turn.classList.contains("streaming")) return;
  const parts = [];
  const tokens = outcome?.usage?.completion_tokens;
  if (tokens !== undefined) parts.push(`${tokens} ${word("tokens")}`);
  if (tokens > 1 && seconds > 0) parts.push(`${(tokens / seconds).toFixed(tokens / seconds < 10 ? 1 : 0)} ${word("perSecond")}`);
  if (outcome?.finish === "length") parts.push(word("length"));
  if (stopped) parts.push(word("stopped"));
  turn.querySelector(".stats").textContent = parts.join(" · ");
}

// ---- feedback -----------------------------------------------------------------------------------

function thank(turn, name) {
  const thanks = turn.querySelector(".thanks");
  thanks.textContent = word(name);
  thanks.hidden = false;
}

async function giveFeedback(turn, feedback, thanks) {
  try {
    await api.sendFeedback({ reply_id: turn.state.id, ...feedback });
    thank(turn, thanks);
    return true;
  } catch (error) {
    notify(explain(error));
    return false;
  }
}

async function rate(turn, rating) {
  if (!(await giveFeedback(turn, { rating }, "thanksRating"))) return;
  turn.querySelector(".up").setAttribute("aria-pressed", rating === 1);
  turn.querySelector(".down").setAttribute("aria-pressed", rating === -1);
}

function openCorrection(turn, open) {
  const form = turn.querySelector(".correction");
  form.hidden = !open;
  turn.querySelector(".correct").setAttribute("aria-expanded", open);
  if (!open) return;
  const field = form.querySelector("textarea");
  field.value ||= turn.state.text;
  fit(field);
  field.focus();
  field.scrollIntoView({ block: "nearest" });
}

async function saveCorrection(turn) {
  const correction = turn.querySelector(".correction textarea").value;
  if (await giveFeedback(turn, { correction }, "thanksCorrection")) openCorrection(turn, false);
}

async function copy(turn) {
  try {
    await navigator.clipboard.writeText(turn.state.given + turn.state.text);
    thank(turn, "copied");
  } catch { /* browsers allow it only on secure pages */ }
}

// ---- asking -------------------------------------------------------------------------------------

function explain(error) {
  if (error.status === 401) return word("needKey");
  return error instanceof api.ApiError ? error.message : word("offline");
}

function makeRequest(prompt) {
  const settings = { model: page.model?.id, ...samplingSettings() };
  if (page.mode === "complete") return ["/v1/completions", { ...settings, prompt }];
  const system = at("system").value.trim();
  const messages = [...(system ? [{ role: "system", content: system }] : []), ...page.turns, { role: "user", content: prompt }];
  return ["/v1/chat/completions", { ...settings, messages }];
}

function showRunning() {
  const running = page.running !== null;
  at("send").classList.toggle("running", running);
  at("send").setAttribute("aria-label", word(running ? "stop" : "send"));
  at("send").title = word(running ? "stop" : "send");
}

async function send() {
  const prompt = at("prompt").value;
  if (prompt.trim() === "" && page.mode === "chat") return;
  const [endpoint, request] = makeRequest(prompt);
  const chat = page.mode === "chat";
  notify("");
  at("welcome").hidden = true;
  at("clear").hidden = false;
  const asked = chat ? addUserTurn(prompt) : null;
  const turn = addReply(chat ? "" : prompt);
  fill("");
  toEnd();
  page.running = { stop: new AbortController() };
  showRunning();
  await receive(turn, endpoint, request, page.running.stop.signal);
  if (chat && turn.state.text) page.turns.push({ role: "user", content: prompt }, { role: "assistant", content: turn.state.text });
  if (!turn.state.id) {
    // Refused: as if it had not been asked.
    asked?.remove();
    if (at("prompt").value === "") fill(prompt);
  }
  page.running = null;
  showRunning();
}

async function receive(turn, endpoint, request, signal) {
  const made = turn.querySelector(".made");
  const began = performance.now();
  const onText = (text) => {
    const follow = nearEnd();
    turn.state.text += text;
    made.append(text);
    if (follow) toEnd();
  };
  try {
    turn.state.outcome = await api.streamReply(endpoint, request, signal, (id) => { turn.state.id = id; }, onText);
  } catch (error) {
    if (signal.aborted) turn.state.stopped = true;
    else notify(explain(error));
    if (error.status === 401) { at("key-field").hidden = false; showSettings(true); at("key").focus(); }
  }
  turn.state.seconds = (performance.now() - began) / 1000;
  turn.classList.remove("streaming");
  if (!turn.state.id) return turn.remove();
  turn.querySelector(".judge").hidden = !page.storesFeedback;
  turn.querySelector(".under").hidden = false;
  describe(turn);
  if (nearEnd()) toEnd();
}

// ---- beginning ----------------------------------------------------------------------------------

async function meetModel() {
  try {
    page.model = await api.model();
  } catch (error) {
    notify(explain(error));
    return;
  }
  notify("");
  page.chatTemplate = page.model.chat_template;
  at("model").textContent = page.model.id;
  at("model").title = `${page.model.id} · ${page.model.max_model_len}`;
  dials.find((dial) => dial.name === "max_tokens").limit(Math.min(page.maxTokens, page.model.max_model_len));
}

async function begin() {
  at("dials").append(...dials.map(makeDial), makeText("seed", "input"), makeText("stopField", "textarea"));
  loadSettings();
  const preferred = navigator.language?.toLowerCase().startsWith("zh") ? "zh" : "en";
  showLanguage(localStorage.getItem("danlu-language") ?? preferred);
  at("language").addEventListener("click", () => showLanguage(language() === "zh" ? "en" : "zh"));
  at("theme").addEventListener("click", toggleTheme);
  at("mode-chat").addEventListener("click", () => changeMode("chat"));
  at("mode-complete").addEventListener("click", () => changeMode("complete"));
  at("settings-toggle").addEventListener("click", () => showSettings(at("settings").hidden));
  at("settings-close").addEventListener("click", () => showSettings(false));
  at("reset").addEventListener("click", resetSettings);
  at("system").addEventListener("input", keepSettings);
  at("clear").addEventListener("click", clear);
  at("prompt").addEventListener("input", () => fit(at("prompt")));
  at("prompt").addEventListener("keydown", (event) => {
    // While a Chinese input method composes, Enter belongs to it.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (page.running === null) send();
    }
  });
  at("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (page.running) page.running.stop.abort();
    else send();
  });
  at("key").value = api.savedKey();
  at("key").addEventListener("change", () => { api.saveKey(at("key").value.trim()); meetModel(); });
  try {
    const health = await api.health();
    page.storesFeedback = health.feedback;
    page.maxTokens = health.max_tokens;
    at("key-field").hidden = !health.api_key_required;
  } catch {
    notify(word("offline"));
    return;
  }
  await meetModel();
}

// Before the first paint, as far as a module can be.
const dark = matchMedia("(prefers-color-scheme: dark)");
showTheme(localStorage.getItem("danlu-theme") ?? (dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => {
  if (!localStorage.getItem("danlu-theme")) showTheme(dark.matches ? "dark" : "light");
});
begin();
