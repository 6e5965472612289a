// The page: one model, one conversation.

import * as api from "./api.js";
import { facts } from "./card.js";
import { Answer, Conversation, Exchange } from "./conversation.js";
import { element, find, icon } from "./elements.js";
import { Composer } from "./composer.js";
import { ExplanationDialog } from "./explanation.js";
import { listed, plural } from "./attachment.js";
import { Player } from "./player.js";
import { Settings } from "./settings.js";
import { Speaker } from "./speaker.js";
import { startTheme } from "./theme.js";
import { Transcript } from "./transcript.js";

const conversation = new Conversation();
const transcript = new Transcript();
const explanation = new ExplanationDialog();
const settings = new Settings(() => composer.changed());
const composer = new Composer({ send, stop, count });
let card = null; // what the model is
let running = null; // AbortController of the answer that is coming
let counting = new AbortController();
let speaker = null; // of the answer that is spoken

async function start() {
  notify(element("span", { class: "spinner" }), "Looking for the model");
  try {
    card = await api.model();
  } catch (error) {
    if (error.status === 401) return askForKey();
    return notify(icon("warning"), error.message, button("Try again", start));
  }
  find("notice").hidden = true;
  document.title = card.id;
  find("model").textContent = card.id;
  find("abilities").textContent = `${listed(card.reads)} → ${listed(card.writes)}`;
  find("abilities").hidden = false;
  settings.describe(card);
  composer.describe(card);
  return welcome();
}

const button = (word, onclick) => element("button", { class: "strong", type: "button", onclick }, word);

function notify(...parts) {
  find("notice").replaceChildren(...parts.map((part) => (typeof part === "string" ? element("p", {}, part) : part)));
  find("notice").hidden = false;
}

function askForKey() {
  const input = element("input", {
    type: "password",
    autocomplete: "off",
    required: true,
    "aria-label": "API key",
    placeholder: "API key",
  });
  const form = element(
    "form",
    { class: "key" },
    input,
    element("button", { class: "strong", type: "submit" }, "Continue"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    find("key").value = input.value;
    api.setKey(input.value);
    start();
  });
  const wasGiven = find("key").value !== "";
  notify(wasGiven ? "That key is not the right one." : "This server asks for a key.", form);
  input.focus();
}

function welcome() {
  const told = (name, value) => element("div", {}, element("dt", {}, name), element("dd", {}, value));
  const items = card.reads.filter((modality) => modality !== "text").map(plural);
  const way = matchMedia("(hover: none)").matches ? "Add" : "Drop";
  const place = way === "Add" ? "below" : "anywhere on this page";
  const hint = items.length
    ? `${way} ${items.join(" or ")} ${place}, or just ask.`
    : "It reads and writes text. Just ask.";
  find("welcome").replaceChildren(
    element("h2", {}, "What would you like to know?"),
    element("p", {}, hint),
    element("dl", {}, ...facts(card).map(([name, value]) => told(name, value))),
  );
  find("welcome").hidden = false;
}

function send({ text, attachments, speaks }) {
  const exchange = new Exchange(text, attachments);
  exchange.speaks = speaks;
  conversation.add(exchange);
  find("welcome").hidden = true;
  transcript.ask(exchange);
  return answer(exchange);
}

function regenerate() {
  if (running) return;
  transcript.forgetLast();
  answer(conversation.last);
}

function stop() {
  running?.abort();
}

function count(draft) {
  counting.abort();
  counting = new AbortController();
  const { signal } = counting;
  const messages = () => conversation.messages(draft, settings.system);
  return retelling(() => api.tokens({ model: card.id, messages: messages() }, signal));
}

/** Ask; where the server keeps an answer's sound no longer, ask once more without it. */
async function retelling(ask) {
  try {
    return await ask();
  } catch (error) {
    if (error.code !== "audio_not_found") throw error;
    conversation.forgetSounds(); // the server has begun anew, or keeps others by now
    return ask();
  }
}

function silence() {
  speaker?.stop();
  Player.silence();
}

/** The request to the API for an answer. */
function body(exchange) {
  const sound = exchange.speaks ? { modalities: ["text", "audio"], audio: { format: "pcm16" } } : {};
  return { model: card.id, messages: conversation.messages(exchange, settings.system), ...settings.values(), ...sound };
}

async function answer(exchange) {
  const controller = (running = new AbortController());
  const made = (exchange.answer = new Answer());
  const view = transcript.answer(made, { regenerate, why: () => why(exchange) });
  silence();
  speaker = exchange.speaks ? new Speaker() : null;
  composer.isBusy = true;
  find("status").textContent = "Answering";
  try {
    await retelling(() => fill(made, view, exchange, controller.signal));
    speaker?.finish();
  } catch (error) {
    speaker?.stop();
    if (error.name === "AbortError") made.isStopped = true;
    else made.error = error.message;
  }
  running = null;
  view.finish();
  transcript.settle();
  transcript.follow();
  composer.isBusy = false;
  find("status").textContent = made.isStopped ? "Stopped" : "";
}

async function fill(made, view, exchange, signal) {
  for await (const chunk of api.chat(body(exchange), signal)) {
    const sound = view.show(made.take(chunk));
    if (sound) speaker?.put(sound);
    transcript.follow();
  }
}

function why(exchange) {
  const { max_tokens } = settings.values();
  const messages = () => conversation.messages(exchange, settings.system);
  const ask = (signal) => api.why({ model: card.id, messages: messages(), max_tokens }, signal);
  explanation.open(exchange.answer, (signal) => retelling(() => ask(signal)));
}

find("new").addEventListener("click", () => {
  stop();
  silence();
  conversation.clear();
  transcript.clear();
  composer.clear();
  if (card) welcome();
});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  stop();
  silence();
});
startTheme();
start();
