// Sounds as samples: decoded by the browser, written as WAV, and read from the bare samples of a stream.
// A sound is { samples: Float32Array of -1 to 1, one channel, rateHz }.

export const STREAM_RATE_HZ = 24_000; // of bare samples, as the API says
const HEAD_BYTES = 44;

/** The sound of a file, its channels mixed. */
export async function decoded(file) {
  const context = new OfflineAudioContext(1, 1, STREAM_RATE_HZ);
  const buffer = await context.decodeAudioData(await file.arrayBuffer());
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, number) => buffer.getChannelData(number));
  const samples = new Float32Array(buffer.length);
  for (const channel of channels) channel.forEach((value, index) => (samples[index] += value / channels.length));
  return { samples, rateHz: buffer.sampleRate };
}

/** A sound at another rate. */
export async function resampled({ samples, rateHz }, wantedHz) {
  if (rateHz === wantedHz || !samples.length) return { samples, rateHz };
  const context = new OfflineAudioContext(1, Math.ceil((samples.length * wantedHz) / rateHz), wantedHz);
  const source = new AudioBufferSourceNode(context, { buffer: bufferOf({ samples, rateHz }) });
  source.connect(context.destination);
  source.start();
  return { samples: (await context.startRendering()).getChannelData(0), rateHz: wantedHz };
}

export function bufferOf({ samples, rateHz }) {
  const buffer = new AudioBuffer({ length: Math.max(samples.length, 1), sampleRate: rateHz, numberOfChannels: 1 });
  buffer.copyToChannel(samples, 0);
  return buffer;
}

/** Several as one. */
export function joined(parts) {
  const samples = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let start = 0;
  for (const part of parts) {
    samples.set(part, start);
    start += part.length;
  }
  return samples;
}

/** Samples of 16 bits in base64. */
export function fromPcm16(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length >> 1 }, (_, index) => view.getInt16(2 * index, true) / 32768);
}

/** A WAV file of 16 bits. */
export function wav({ samples, rateHz }) {
  const view = new DataView(new ArrayBuffer(HEAD_BYTES + 2 * samples.length));
  const put = (offset, text) => [...text].forEach((letter, i) => view.setUint8(offset + i, letter.charCodeAt(0)));
  put(0, "RIFF");
  view.setUint32(4, view.byteLength - 8, true);
  put(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of this part
  view.setUint16(20, 1, true); // plain samples
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rateHz, true);
  view.setUint32(28, 2 * rateHz, true); // bytes in a second
  view.setUint16(32, 2, true); // bytes of a sample
  view.setUint16(34, 16, true); // bits of a sample
  put(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, index) => {
    view.setInt16(HEAD_BYTES + 2 * index, Math.round(Math.max(-1, Math.min(1, value)) * 32767), true);
  });
  return new Blob([view], { type: "audio/wav" });
}
