// Light or dark: as the system is, until the user says otherwise.

import { find } from "./elements.js";

const PLACE = "theme";
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

const store = storage();
const stored = () => store?.getItem(PLACE) ?? null;
const isDark = () => (stored() ?? (systemIsDark.matches ? "dark" : "light")) === "dark";

function show() {
  document.documentElement.dataset.theme = stored() ?? "";
  const label = isDark() ? "Light colors" : "Dark colors";
  find("theme").title = label;
  find("theme").setAttribute("aria-label", label);
}

/** The other one; where that is the system's own, the page follows the system again. */
function toggle() {
  const wanted = isDark() ? "light" : "dark";
  if ((wanted === "dark") === systemIsDark.matches) store?.removeItem(PLACE);
  else store?.setItem(PLACE, wanted);
  show();
}

/** What browsers keep for the page; null where they keep nothing. */
function storage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

export function startTheme() {
  show();
  systemIsDark.addEventListener("change", show);
  find("theme").addEventListener("click", toggle);
}
