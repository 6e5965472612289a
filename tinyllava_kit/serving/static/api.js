// The server's API: what the page asks, with a key that only this module holds.

import { ApiError } from "./api_error.js";
import { events } from "./event_stream.js";

const MOST_EXPLAINED = 256; // tokens of an answer

let key = "";

export function setKey(value) {
  key = value.trim();
}

async function request(path, body, signal) {
  const headers = new Headers();
  if (key && /^[\x21-\x7e]+$/.test(key)) headers.set("authorization", `Bearer ${key}`);
  if (body) headers.set("content-type", "application/json");
  const how = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal };
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), how);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  throw ApiError.of(await response.json().catch(() => null), response.status);
}

/** The model that is served. */
export async function model() {
  const { data } = await (await request("v1/models")).json();
  return data[0];
}

/** How many positions a conversation takes, and each of its items. */
export const tokens = async (body, signal) => (await request("v1/tokens", body, signal)).json();

/** An answer, and the page that says why; without `max_tokens` it is as long as the server says. */
export async function why({ max_tokens, ...body }, signal) {
  const length = max_tokens && Math.min(max_tokens, MOST_EXPLAINED);
  return (await request("v1/why", { ...body, max_tokens: length }, signal)).json();
}

/** The chunks of an answer as they come. */
export async function* chat(body, signal) {
  const options = { stream: true, stream_options: { include_usage: true } };
  const response = await request("v1/chat/completions", { ...body, ...options }, signal);
  for await (const chunk of events(response.body)) {
    if (chunk.error) throw ApiError.of(chunk, response.status);
    yield chunk;
  }
}
