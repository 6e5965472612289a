// Why the model answered so: the page of `tinyllava show`, in a frame in which no script runs.

import { closable } from "./dialog.js";
import { element, find, icon } from "./elements.js";

const policy = window.trustedTypes?.createPolicy("explanation", { createHTML: (html) => html });

export class ExplanationDialog {
  #dialog = find("why");
  #controller = null;

  constructor() {
    closable(this.#dialog);
    this.#dialog.addEventListener("close", () => this.#controller.abort());
  }

  /** Ask for it, and show it; `ask` is given the signal that ends it. */
  async open(answer, ask) {
    this.#controller = new AbortController();
    this.#show("", waiting());
    this.#dialog.showModal();
    try {
      const found = await ask(this.#controller.signal);
      this.#show(note(answer, found.answer), frame(found.html));
    } catch (error) {
      if (error.name !== "AbortError") this.#show("", failed(error.message));
    }
  }

  #show(note, body) {
    find("why-note").textContent = note;
    find("why-note").hidden = !note;
    find("why-body").replaceChildren(body);
  }
}

function note(answer, found) {
  const isOther = !found.trim().startsWith(answer.text.trim()) && !answer.text.trim().startsWith(found.trim());
  return isOther ? "This explains the likeliest answer, which is not the one that was drawn." : "";
}

function frame(html) {
  const made = element("iframe", { sandbox: "", title: "Why it answered so" });
  const themed = html.replace("<html", `<html data-theme="${document.documentElement.dataset.theme}"`);
  made.srcdoc = policy ? policy.createHTML(themed) : themed;
  return made;
}

function waiting() {
  const told = element("p", {}, "The model answers again, and is watched");
  return element("div", { class: "notice", role: "status" }, element("span", { class: "spinner" }), told);
}

const failed = (message) =>
  element("div", { class: "notice", role: "alert" }, icon("warning"), element("p", {}, message));
