// Elements of the page, made without HTML: what a model or a user wrote can only become text.

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

/** An element; properties are attributes, `onNAME` a listener, true and false a bare attribute. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") made.toggleAttribute(name, value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** An element of a drawing. */
export function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** One of the symbols of index.html. */
export const icon = (name) => shape("svg", { "aria-hidden": "true" }, shape("use", { href: `#icon-${name}` }));

/** A button with an icon, and a word where there is room. */
export function button(name, label, onclick, { word = false, kind = "quiet" } = {}) {
  const attributes = {
    type: "button",
    class: word ? kind : `${kind} square`,
    title: label,
    "aria-label": label,
    onclick,
  };
  return element("button", attributes, icon(name), word ? element("span", {}, label) : null);
}

/** A number as people write it. */
export const written = (number) => number.toLocaleString("en");

/** "1 token", "2 tokens". */
export const counted = (number, noun) => `${written(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Seconds as a clock shows them. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
