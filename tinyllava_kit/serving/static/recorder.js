// The microphone, recorded as samples: what browsers write themselves, the server's decoder does not read.

import { joined, resampled, STREAM_RATE_HZ, wav } from "./sound.js";

const REASONS = {
  NotAllowedError: "The microphone is not allowed here; allow it in the browser, beside the address.",
  NotFoundError: "No microphone was found.",
  NotReadableError: "The microphone is used by another program.",
};

export class Recorder {
  #parts = [];
  #length = 0;

  /** Whether this browser records; it does on pages of this machine and on those with TLS. */
  static get isThere() {
    return Boolean(navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode);
  }

  /** Begin; `heard` gets the seconds so far, and the loudness, 0 to 1. */
  async start(heard) {
    const wanted = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    } catch (error) {
      throw new Error(REASONS[error.name] ?? `The microphone cannot be used: ${error.message}`);
    }
    this.context = new AudioContext();
    try {
      await this.context.audioWorklet.addModule(new URL("./recorder_worklet.js", import.meta.url));
    } catch (error) {
      this.cancel();
      throw error;
    }
    const source = new MediaStreamAudioSourceNode(this.context, { mediaStream: this.stream });
    const node = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => this.#take(data, heard);
    source.connect(node);
  }

  #take(samples, heard) {
    this.#parts.push(samples);
    this.#length += samples.length;
    heard(this.#length / this.context.sampleRate, Math.min(1, 2.5 * Math.sqrt(mean(samples))));
  }

  /** What was recorded, as a WAV file; null where that is nothing. */
  async end(name) {
    const { sampleRate } = this.context;
    this.cancel();
    if (!this.#length) return null;
    const sound = await resampled({ samples: joined(this.#parts), rateHz: sampleRate }, STREAM_RATE_HZ);
    return new File([wav(sound)], name, { type: "audio/wav" });
  }

  cancel() {
    for (const track of this.stream.getTracks()) track.stop();
    this.context.close();
  }
}

const mean = (samples) => samples.reduce((sum, value) => sum + value * value, 0) / samples.length;
