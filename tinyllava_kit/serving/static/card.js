// What a model is, as people call it.

import { counted } from "./elements.js";
import { listed } from "./attachment.js";

/** Pairs of a name and a value. */
export const facts = ({ reads, writes, context_length: most }) => [
  ["Reads", listed(reads)],
  ["Writes", listed(writes)],
  ...(most ? [["Remembers", counted(most, "token")]] : []),
];
