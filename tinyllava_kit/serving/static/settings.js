// How answers are generated, and the key: kept in this page alone.

import { element, find } from "./elements.js";
import { facts } from "./card.js";
import { closable } from "./dialog.js";
import { setKey } from "./api.js";

export class Settings {
  #dialog = find("settings");
  #form = find("options");

  /** `changed` is called when another system message is given. */
  constructor(changed) {
    find("open-settings").addEventListener("click", () => this.#dialog.showModal());
    closable(this.#dialog);
    find("key").addEventListener("input", (event) => setKey(event.target.value));
    find("system").addEventListener("change", changed);
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#form.addEventListener("input", () => this.#show());
    this.#form.addEventListener("reset", () => setTimeout(() => this.#reset(changed)));
    this.#show();
  }

  get system() {
    return find("system").value.trim();
  }

  /** What a request says beside its messages. */
  values() {
    const numbers = ["temperature", "top_p", "max_tokens", "seed"].map((name) => [name, this.#number(name)]);
    return Object.fromEntries(numbers.filter(([name, value]) => value !== null && !(name === "top_p" && value === 1)));
  }

  /** What the model reads and writes. */
  describe(card) {
    const told = [["Name", card.id], ...facts(card)];
    find("about").replaceChildren(
      ...told.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    );
  }

  #number(name) {
    const { value, validity } = find(name);
    return value !== "" && validity.valid ? Number(value) : null;
  }

  #show() {
    for (const input of this.#form.querySelectorAll("input[type=range]")) {
      input.parentElement.querySelector("output").value = Number(input.value).toFixed(2);
    }
    for (const input of this.#form.querySelectorAll("input[type=number]")) {
      input.parentElement.querySelector(".wrong").textContent = input.validity.valid
        ? ""
        : `${input.validationMessage} It is left out.`;
    }
  }

  #reset(changed) {
    setKey("");
    this.#show();
    changed();
  }
}
