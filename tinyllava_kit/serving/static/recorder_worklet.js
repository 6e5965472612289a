// Runs beside the page: hands it the samples of the microphone, a twentieth of a second at a time.

class RecorderProcessor extends AudioWorkletProcessor {
  #buffer = new Float32Array(Math.round(sampleRate / 20));
  #filled = 0;

  process([[samples]]) {
    for (const sample of samples ?? []) {
      this.#buffer[this.#filled++] = sample;
      if (this.#filled === this.#buffer.length) {
        this.port.postMessage(this.#buffer);
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", RecorderProcessor);
