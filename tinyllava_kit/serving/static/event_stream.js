// Server-sent events, each a JSON object, until the stream says that it is done.

import { ApiError } from "./api_error.js";

const DONE = "[DONE]";

/** The objects of a stream of bytes, which is read to its end: the server takes who leaves before as gone. */
export async function* events(bytes) {
  let isDone = false;
  for await (const line of lines(bytes)) {
    if (!line.startsWith("data:")) continue;
    const data = line.slice(5).trim();
    if (data === DONE) isDone = true;
    else yield JSON.parse(data);
  }
  if (!isDone) throw new ApiError("The connection ended before the answer did.");
}

async function* lines(bytes) {
  const reader = bytes.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await read(reader);
      if (done) return;
      const found = (rest + value).split("\n");
      rest = found.pop();
      yield* found;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The connection to the server broke.");
  }
}
