// A sound to play, with its waveform.

import { button, clock, element, icon, shape } from "./elements.js";

const BARS = 44;
const STEP = 4; // from bar to bar
const HEIGHT = 28;

export class Player {
  static #playing = null;
  #audio = null;

  constructor(name) {
    this.button = button("play", `Play ${name}`, () => this.#toggle(), { kind: "round" });
    this.button.disabled = true;
    const size = { viewBox: `0 0 ${BARS * STEP} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" };
    this.bars = [shape("path"), shape("path", { class: "played" })];
    const drawing = shape("svg", { ...size, class: "waveform" }, ...this.bars);
    const seek = () => (this.#audio.currentTime = Number(this.place.value));
    const range = { type: "range", min: 0, max: 1, value: 0, step: "any", disabled: true, oninput: seek };
    this.place = element("input", { ...range, "aria-label": `Place in ${name}` });
    this.time = element("span", { class: "clock" }, clock(0));
    this.element = element(
      "div",
      { class: "player" },
      this.button,
      element("div", { class: "wave" }, drawing, this.place),
      this.time,
    );
    this.name = name;
  }

  /** Show samples, which may still grow. */
  draw({ samples, rateHz }) {
    const bars = peaks(samples).map((peak, index) => {
      const half = Math.max(0.75, (peak * (HEIGHT - 3)) / 2);
      return `M${index * STEP + STEP / 2} ${HEIGHT / 2 - half}v${2 * half}`;
    });
    for (const path of this.bars) path.setAttribute("d", bars.join(""));
    this.time.textContent = clock(samples.length / rateHz);
    return this;
  }

  /** Show a whole sound, and let it be played from an address. */
  load(address, sound) {
    this.draw(sound);
    this.seconds = sound.samples.length / sound.rateHz;
    this.#audio = new Audio(address);
    this.#audio.ontimeupdate = () => this.#show();
    this.#audio.onplay = this.#audio.onpause = () => this.#show();
    this.place.max = this.seconds;
    this.place.disabled = this.button.disabled = false;
    return this;
  }

  /** Be silent, whichever sound is played. */
  static silence() {
    Player.#playing?.pause();
  }

  #toggle() {
    if (!this.#audio.paused) return this.#audio.pause();
    Player.silence();
    Player.#playing = this.#audio;
    return this.#audio.play();
  }

  #show() {
    const { currentTime, paused, ended } = this.#audio;
    const played = ended ? 0 : currentTime;
    this.place.value = played;
    this.element.style.setProperty("--played", `${(100 * played) / this.seconds}%`);
    this.time.textContent = clock(played || this.seconds);
    this.button.replaceChildren(icon(paused ? "play" : "pause"));
    this.button.title = `${paused ? "Play" : "Pause"} ${this.name}`;
    this.button.setAttribute("aria-label", this.button.title);
  }
}

/** The loudest of each bar, beside the loudest of all. */
function peaks(samples) {
  const size = Math.max(1, samples.length / BARS);
  const found = Array.from({ length: BARS }, (_, bar) => {
    let most = 0;
    const end = Math.min(samples.length, Math.floor((bar + 1) * size));
    for (let index = Math.floor(bar * size); index < end; index++) most = Math.max(most, Math.abs(samples[index]));
    return most;
  });
  const most = Math.max(...found, 0.02);
  return found.map((peak) => peak / most);
}
