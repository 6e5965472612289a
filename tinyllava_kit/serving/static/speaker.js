// Plays samples as they come, one piece behind the other.

import { bufferOf } from "./sound.js";

const LEAD_SECONDS = 0.06; // before a piece that nothing plays before

export class Speaker {
  #context = new AudioContext();
  #end = 0;
  #left = 0; // pieces that are not played to their end
  #isComplete = false;

  /** Play a piece behind those before. */
  put(sound) {
    const source = new AudioBufferSourceNode(this.#context, { buffer: bufferOf(sound) });
    source.connect(this.#context.destination);
    const start = Math.max(this.#end, this.#context.currentTime + LEAD_SECONDS);
    this.#end = start + source.buffer.duration;
    this.#left += 1;
    source.onended = () => {
      this.#left -= 1;
      this.#closeWhenDone();
    };
    source.start(start);
  }

  /** Nothing more comes; play the rest to its end. */
  finish() {
    this.#isComplete = true;
    this.#closeWhenDone();
  }

  /** Be silent at once. */
  stop() {
    if (this.#context.state !== "closed") this.#context.close();
  }

  #closeWhenDone() {
    if (this.#isComplete && this.#left === 0) this.stop();
  }
}
