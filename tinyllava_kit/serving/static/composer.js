// The message being written: a text, and items that are dropped, pasted, picked or recorded.

import { Attachment, listed, modalityOf, plural } from "./attachment.js";
import { button, clock, counted, element, find, icon, shape, written } from "./elements.js";
import { Player } from "./player.js";
import { Recorder } from "./recorder.js";

const COUNT_AFTER_MS = 350; // without a change
const LEVELS = 40; // bars of the microphone's level
const ACCEPTED = { image: "image/*", audio: "audio/*,.webm", video: "video/*" };

export class Composer {
  #form = find("composer");
  #text = find("text");
  #attachments = [];
  #reads = ["text"];
  #speaks = null; // the button, where the model speaks
  #recorder = null;
  #isAsking = false; // for the microphone
  #recorded = 0;
  #reading = 0; // files that are being read
  #timer = null;
  #isBusy = false;

  /** `actions` has `send(draft)`, `stop()` and `count(draft)`, which gives the counts of a draft. */
  constructor(actions) {
    this.actions = actions;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#isBusy) actions.stop();
      else this.#send();
    });
    this.#text.addEventListener("input", () => this.changed());
    this.#text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.#isBusy) this.#send();
    });
    find("keep").addEventListener("click", () => this.#endRecording());
    find("discard").addEventListener("click", () => this.#discardRecording());
    this.#takeDropped();
  }

  /** Offer what the model reads and writes, and nothing else. */
  describe({ reads, writes }) {
    this.#reads = reads;
    const items = reads.filter((modality) => modality !== "text");
    this.#speaks = writes.includes("audio") ? this.#speakButton() : null;
    const record =
      reads.includes("audio") && Recorder.isThere ? button("microphone", "Record a sound", () => this.#record()) : null;
    const offered = [...items.map((modality) => this.#picker(modality)), record, this.#speaks];
    find("pickers").replaceChildren(...offered.filter(Boolean));
    find("drop").firstElementChild.textContent = `Drop ${items.map(plural).join(" and ")} here`;
    this.#form.hidden = false;
    this.#text.focus();
  }

  get draft() {
    const speaks = this.#speaks?.getAttribute("aria-pressed") === "true";
    return { text: this.#text.value.trim(), attachments: this.#attachments, speaks };
  }

  set isBusy(isBusy) {
    this.#isBusy = isBusy;
    const label = isBusy ? "Stop" : "Send";
    find("send").replaceChildren(icon(isBusy ? "stop" : "send"));
    find("send").title = label;
    find("send").setAttribute("aria-label", label);
    this.#show();
  }

  /** One line of what went wrong; empty: nothing. */
  set problem(message) {
    find("problem").textContent = message;
    find("problem").hidden = !message;
  }

  clear() {
    this.#attachments = [];
    find("attachments").replaceChildren();
    this.#text.value = "";
    this.changed();
    this.#text.focus();
  }

  /** The draft, or the conversation before it, has changed. */
  changed() {
    this.problem = "";
    this.#countLater();
  }

  #countLater() {
    this.#show();
    clearTimeout(this.#timer);
    if (this.#isBlank) find("count").hidden = true;
    else this.#timer = setTimeout(() => this.#count(), COUNT_AFTER_MS);
  }

  get #isBlank() {
    return !this.#text.value.trim() && !this.#attachments.length;
  }

  #send() {
    if (this.#isBlank || !this.#isComplete) return;
    clearTimeout(this.#timer);
    const { draft } = this;
    this.clear();
    this.actions.send(draft);
  }

  get #isComplete() {
    return this.#recorder === null && this.#reading === 0;
  }

  #show() {
    find("send").disabled = !this.#isBusy && (this.#isBlank || !this.#isComplete);
    find("attachments").hidden = !this.#attachments.length;
    find("recording").hidden = this.#recorder === null;
  }

  async #count() {
    const { draft } = this;
    let found;
    try {
      found = await this.actions.count(draft);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.problem = error.message;
      this.#showAttachments("not counted");
      return;
    }
    if (this.#isBlank) return;
    const { total, items, context_length: most } = found;
    const mine = items.slice(items.length - draft.attachments.length);
    draft.attachments.forEach((attachment, index) => (attachment.tokens = mine[index]?.tokens ?? null));
    const isOver = most !== null && total >= most;
    find("count").value = most === null ? counted(total, "token") : `${written(total)} of ${counted(most, "token")}`;
    find("count").title = isOver
      ? "Too long: begin a new conversation, or give less"
      : "What the conversation takes, with this message";
    find("count").classList.toggle("over", isOver);
    find("count").hidden = false;
    this.#showAttachments();
  }

  #showAttachments(uncounted = "counting") {
    for (const tile of find("attachments").children) {
      const { tokens } = tile.attachment;
      tile.querySelector("small").textContent = tokens === null ? uncounted : counted(tokens, "token");
    }
  }

  #picker(modality) {
    const kinds = ACCEPTED[modality] ?? null;
    const input = element("input", {
      type: "file",
      multiple: true,
      accept: kinds,
      class: "unseen",
      tabindex: -1,
      "aria-hidden": "true",
    });
    input.addEventListener("change", () => {
      this.#add([...input.files], modality);
      input.value = "";
    });
    const name = ["image", "audio"].includes(modality) ? modality : "file";
    return element(
      "span",
      { class: "picker" },
      input,
      button(name, `Add ${plural(modality)}`, () => input.click()),
    );
  }

  #speakButton() {
    const made = button(
      "speaker",
      "Answer in sound",
      () => {
        made.setAttribute("aria-pressed", made.getAttribute("aria-pressed") !== "true");
      },
      { word: true, kind: "quiet switch" },
    );
    made.setAttribute("aria-pressed", "false");
    return made;
  }

  /** Take files; `modality`: what they were picked as. */
  async #add(files, modality = null) {
    this.problem = "";
    this.#reading += 1;
    this.#show();
    for (const file of files) {
      const found = modality ?? modalityOf(file, this.#reads);
      if (found === null) {
        this.problem = `${file.name} is nothing that the model reads; it reads ${listed(this.#reads)}.`;
        continue;
      }
      try {
        this.#attach(await Attachment.of(file, found));
      } catch (error) {
        this.problem = error.message;
      }
    }
    this.#reading -= 1;
    this.#show();
    this.#text.focus();
  }

  #attach(attachment) {
    this.#attachments = [...this.#attachments, attachment];
    const remove = () => {
      this.#attachments = this.#attachments.filter((each) => each !== attachment);
      tile.remove();
      Player.silence();
      this.changed();
      this.#text.focus();
    };
    const { name } = attachment.file;
    const caption = element("small", {}, "counting");
    const tile = element(
      "li",
      { class: `tile ${attachment.modality}` },
      attachment.view(),
      caption,
      button("close", `Remove ${name}`, remove, { kind: "remove" }),
    );
    tile.attachment = attachment;
    find("attachments").append(tile);
    this.#countLater();
  }

  #takeDropped() {
    const brings = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files") && this.#reads.length > 1;
    const over = (event) => {
      if (!brings(event)) return;
      event.preventDefault();
      find("drop").hidden = false;
    };
    addEventListener("dragenter", over);
    addEventListener("dragover", over);
    addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) find("drop").hidden = true;
    });
    addEventListener("drop", (event) => {
      if (!brings(event)) return;
      event.preventDefault();
      find("drop").hidden = true;
      this.#add([...event.dataTransfer.files]);
    });
    this.#text.addEventListener("paste", (event) => {
      const files = [...event.clipboardData.files];
      if (!files.length || this.#reads.length === 1) return;
      event.preventDefault();
      this.#add(files);
    });
  }

  async #record() {
    if (this.#recorder || this.#isAsking) return;
    this.problem = "";
    this.#isAsking = true;
    const recorder = new Recorder();
    const levels = [];
    try {
      await recorder.start((seconds, level) => {
        find("clock").textContent = clock(seconds);
        levels.push(level);
        drawLevels(levels);
      });
    } catch (error) {
      this.problem = error.message;
      return;
    } finally {
      this.#isAsking = false;
    }
    this.#recorder = recorder;
    this.#show();
    find("keep").focus();
  }

  async #endRecording() {
    const recorder = this.#recorder;
    this.#recorder = null;
    const file = await recorder.end(`recording-${++this.#recorded}.wav`);
    this.#show();
    if (file) await this.#add([file], "audio");
    else this.problem = "Nothing was recorded.";
  }

  #discardRecording() {
    this.#recorder.cancel();
    this.#recorder = null;
    this.#show();
    this.#text.focus();
  }
}

function drawLevels(levels) {
  const shown = levels.slice(-LEVELS);
  const path = shown.map(
    (level, index) => `M${4 * index + 2} ${12 - Math.max(0.75, 11 * level)}v${2 * Math.max(0.75, 11 * level)}`,
  );
  find("level").setAttribute("viewBox", `0 0 ${4 * LEVELS} 24`);
  find("level").replaceChildren(shape("path", { d: path.join("") }));
}
