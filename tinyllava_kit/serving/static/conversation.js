// What was asked and answered: kept in this page alone, and sent whole with each question.

/** One answer, as its chunks come. */
export class Answer {
  constructor() {
    this.text = "";
    this.sound = null; // { id, expiresAt }
    this.usage = null;
    this.finish = null;
    this.error = null;
    this.isStopped = false;
  }

  /** Take a chunk; gives the samples that it brings, in base64. */
  take(chunk) {
    this.usage = chunk.usage ?? this.usage;
    const [choice] = chunk.choices;
    if (!choice) return null;
    const { content, audio } = choice.delta;
    this.text += content ?? audio?.transcript ?? "";
    this.finish = choice.finish_reason ?? this.finish;
    if (audio?.id) this.sound = { ...this.sound, id: audio.id };
    if (audio?.expires_at) this.sound = { ...this.sound, expiresAt: audio.expires_at };
    return audio?.data ?? null;
  }

  get isEmpty() {
    return !this.text.trim() && !this.sound?.expiresAt;
  }

  message() {
    const isKept = this.sound?.expiresAt * 1000 > Date.now();
    return isKept ? { role: "assistant", audio: { id: this.sound.id } } : { role: "assistant", content: this.text };
  }
}

/** A question and its answer. */
export class Exchange {
  constructor(text, attachments) {
    this.text = text;
    this.attachments = attachments;
    this.answer = null;
  }

  /** Whether it is part of what follows. */
  get counts() {
    return this.answer !== null && this.answer.error === null && !this.answer.isEmpty;
  }
}

export class Conversation {
  constructor() {
    this.exchanges = [];
  }

  get last() {
    return this.exchanges.at(-1) ?? null;
  }

  add(exchange) {
    this.exchanges.push(exchange);
  }

  clear() {
    this.exchanges = [];
  }

  /** The messages of a request that asks `exchange`, behind those that were answered before it. */
  messages(exchange, system) {
    const end = this.exchanges.indexOf(exchange);
    const before = end < 0 ? this.exchanges : this.exchanges.slice(0, end);
    const answered = before.filter((each) => each.counts);
    return [
      ...(system ? [{ role: "system", content: system }] : []),
      ...answered.flatMap((each) => [question(each), each.answer.message()]),
      question(exchange),
    ];
  }

  /** The server has dropped the sounds: earlier answers are sent as text. */
  forgetSounds() {
    for (const { answer } of this.exchanges) if (answer) answer.sound = null;
  }
}

function question({ text, attachments }) {
  const parts = attachments.map((attachment) => attachment.part());
  return { role: "user", content: text || !parts.length ? [...parts, { type: "text", text }] : parts };
}
