// The conversation on the page.

import { button, counted, element, find, icon, written } from "./elements.js";
import { fromPcm16, joined, STREAM_RATE_HZ, wav } from "./sound.js";
import { Player } from "./player.js";
import { plural } from "./attachment.js";

const NEAR = 80; // pixels from the end: who reads there is kept there

/** An answer on the page, filled as it comes. */
export class AnswerView {
  #parts = []; // of the sound
  #player = null;
  #address = null; // of the whole sound
  #isToBeDrawn = false;

  constructor(answer, actions) {
    this.answer = answer;
    this.actions = actions;
    this.text = element("p", { class: "text" });
    this.sound = element("div", { class: "items", hidden: true });
    this.waiting = element("p", { class: "dots", "aria-hidden": "true" }, element("i"), element("i"), element("i"));
    this.foot = element("footer", { hidden: true });
    const parts = [element("h2", { class: "unseen" }, "Answer"), this.sound, this.text, this.waiting, this.foot];
    this.element = element("article", { class: "answer", "aria-busy": "true" }, ...parts);
    this.start = performance.now();
  }

  /** Show what has come; gives the samples of `data`. */
  show(data) {
    this.text.textContent = this.answer.text;
    if (this.answer.text || data) this.waiting.hidden = true;
    if (!data) return null;
    const sound = { samples: fromPcm16(data), rateHz: STREAM_RATE_HZ };
    this.#parts.push(sound.samples);
    if (this.#player === null) {
      this.#player = new Player("the answer");
      this.sound.append(this.#player.element);
      this.sound.hidden = false;
    }
    this.#drawSoon();
    return sound;
  }

  /** Draw the sound so far, once for all pieces of a frame. */
  #drawSoon() {
    if (this.#isToBeDrawn) return;
    this.#isToBeDrawn = true;
    requestAnimationFrame(() => {
      this.#isToBeDrawn = false;
      if (this.element.hasAttribute("aria-busy")) this.#player.draw(this.#whole);
    });
  }

  /** Nothing comes any more. */
  finish() {
    const { answer } = this;
    const whole = this.#whole;
    this.seconds = (performance.now() - this.start) / 1000;
    this.waiting.hidden = true;
    this.text.hidden = !answer.text;
    if (this.#player && this.element.isConnected) this.#load(whole);
    if (answer.error !== null) this.foot.before(problem(answer.error));
    this.foot.replaceChildren(this.#buttons(), element("p", { class: "facts" }, this.#facts()));
    this.foot.hidden = false;
    this.element.removeAttribute("aria-busy");
  }

  /** Take it off the page, and its sound out of memory. */
  remove() {
    this.element.remove();
    URL.revokeObjectURL(this.#address);
  }

  /** Buttons that only the last answer has. */
  set isLast(isLast) {
    const again = this.foot.querySelector(".again");
    if (again) again.hidden = !isLast;
  }

  #load(whole) {
    this.#address = URL.createObjectURL(wav(whole));
    this.#player.load(this.#address, whole);
  }

  get #whole() {
    return { samples: joined(this.#parts), rateHz: STREAM_RATE_HZ };
  }

  #buttons() {
    const { answer, actions } = this;
    const again = button("again", answer.error === null ? "Regenerate" : "Try again", () => actions.regenerate(), {
      word: answer.error !== null,
    });
    again.classList.add("again");
    const copy = answer.text && navigator.clipboard ? button("copy", "Copy", (event) => this.#copy(event)) : null;
    const why =
      answer.error === null && answer.text ? button("why", "Why?", () => actions.why(), { word: true }) : null;
    return element("div", { class: "buttons" }, copy, again, why);
  }

  async #copy(event) {
    const { currentTarget } = event;
    await navigator.clipboard.writeText(this.answer.text);
    find("status").textContent = "Copied";
    currentTarget.classList.add("done");
    setTimeout(() => currentTarget.classList.remove("done"), 1200);
  }

  #facts() {
    const { usage, isStopped, finish, error } = this.answer;
    if (error !== null)
      return this.answer.isEmpty ? "Left out of what follows" : "Broken off, and left out of what follows";
    if (isStopped) return this.answer.isEmpty ? "Stopped before the first word" : "Stopped";
    const told = [`${this.seconds.toFixed(1)} s`];
    if (usage)
      told.unshift(
        `read ${counted(usage.prompt_tokens, "token")}${detail(usage.prompt_tokens_details)}`,
        `wrote ${written(usage.completion_tokens)}${detail(usage.completion_tokens_details)}`,
      );
    if (finish === "length") told.push("cut at its longest");
    return told.join(" · ");
  }
}

export class Transcript {
  #root = find("transcript");
  #main = find("main");
  #views = [];

  /** Show a question. */
  ask({ text, attachments }) {
    const items = attachments.map((attachment) => {
      const { tokens } = attachment;
      const caption = tokens === null ? null : element("figcaption", {}, counted(tokens, "token"));
      return element("figure", { class: attachment.modality }, attachment.view(), caption);
    });
    const shown = [element("h2", { class: "unseen" }, "Question")];
    if (items.length) shown.push(element("div", { class: "items" }, ...items));
    if (text) shown.push(element("p", { class: "text" }, text));
    this.#root.append(element("article", { class: "question" }, ...shown));
  }

  /** Show the place of an answer. */
  answer(answer, actions) {
    const view = new AnswerView(answer, actions);
    this.#root.append(view.element);
    this.#views.push(view);
    this.settle();
    this.follow(true);
    return view;
  }

  /** Take the last answer away, for another in its place. */
  forgetLast() {
    this.#views.pop().remove();
  }

  /** Only the last answer can be generated anew. */
  settle() {
    for (const view of this.#views) view.isLast = view === this.#views.at(-1);
  }

  clear() {
    for (const view of this.#views) view.remove();
    this.#views = [];
    this.#root.replaceChildren();
  }

  /** Keep the end in sight, where it was. */
  follow(always = false) {
    const { scrollHeight, scrollTop, clientHeight } = this.#main;
    if (always || scrollHeight - scrollTop - clientHeight < NEAR) this.#main.scrollTop = scrollHeight;
  }
}

const problem = (message) =>
  element("p", { class: "problem", role: "alert" }, icon("warning"), element("span", {}, message));

/** " (49 pictures)" of counts by modality; text goes without saying. */
function detail(counts) {
  const others = Object.entries(counts ?? {}).filter(([name, count]) => name !== "text_tokens" && count);
  const told = others.map(([name, count]) => `${written(count)} of ${plural(name.replace(/_tokens$/, ""))}`);
  return told.length ? ` (${told.join(", ")})` : "";
}
