// A picture, a sound, or an item of another modality that goes with a message.

import { Player } from "./player.js";
import { decoded, wav } from "./sound.js";
import { element, icon } from "./elements.js";

const READ_AS_THEY_ARE = /^audio\/(x-)?(wav|wave|vnd\.wave|flac|ogg|mpeg|mp3)$/;
const MEDIA = ["image", "audio", "video"];

/** What people call what a modality reads. */
export const plural = (modality) =>
  ({ text: "text", image: "pictures", audio: "sounds", video: "videos" })[modality] ?? modality;

/** Several of them. */
export const listed = (modalities) => modalities.map(plural).join(", ");

/** The modality that a file is of, among those that the model reads; null: none. Of a film it may be the sound. */
export function modalityOf(file, reads) {
  const [kind] = file.type.split("/");
  if (MEDIA.includes(kind))
    return [kind, kind === "video" ? "audio" : kind].find((each) => reads.includes(each)) ?? null;
  const others = reads.filter((modality) => modality !== "text" && !MEDIA.includes(modality));
  return others.length === 1 ? others[0] : null;
}

export class Attachment {
  /** Of a file that was dropped, picked or recorded. A sound that the server does not read becomes a WAV here. */
  static async of(file, modality) {
    if (file.size === 0) throw new Error(`${file.name} is empty.`);
    const sound = modality === "audio" ? await decoded(file).catch(() => null) : null;
    if (modality === "audio" && sound === null && !file.type.startsWith("audio/")) {
      throw new Error(`${file.name} has no sound that this browser can read.`);
    }
    const isForeign = sound !== null && !READ_AS_THEY_ARE.test(file.type);
    const content = isForeign ? new File([wav(sound)], file.name, { type: "audio/wav" }) : file;
    return new Attachment(modality, content, await dataUrl(content), sound);
  }

  constructor(modality, file, source, sound) {
    this.modality = modality;
    this.file = file;
    this.source = source;
    this.sound = sound;
    this.tokens = null;
  }

  /** As a message has it. */
  part() {
    return { type: this.modality, [this.modality]: this.source };
  }

  /** Its elements on the page. */
  view() {
    const { name } = this.file;
    const plain = element("span", { class: "file", title: name }, icon("file"), element("span", {}, name));
    if (this.sound) return new Player(name).load(this.source, this.sound).element;
    if (this.modality !== "image") return plain;
    return element("img", {
      src: this.source,
      alt: name,
      title: name,
      onerror: (event) => event.target.replaceWith(plain),
    });
  }
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}
