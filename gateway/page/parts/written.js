// Text as a model writes it, each token under a line that is stronger the surer the model was.

import { figure, h, percent } from "../app/dom.js";

/** Room for a text. */
export function written(label) {
  return h("div", { class: "written", tabindex: 0, role: "log", "aria-label": label, "aria-live": "off" });
}

/** Begins with the prompt. */
export function begin(box, prompt) {
  box.replaceChildren(h("span", { class: "prompt" }, prompt));
}

/** Adds a message of GenerateStream. */
export function add(box, { text = "", tokens = [] }) {
  const follows = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
  const said = tokens.map(({ token }) => token.text ?? "");
  if (said.join("") === text) tokens.forEach(({ token }) => box.append(piece(token)));
  else box.append(text); // a character that several tokens share
  if (follows) box.scrollTop = box.scrollHeight;
}

function piece(token) {
  const share = Math.exp(token.logprob ?? 0);
  const title = `id ${token.id ?? 0}, ${percent(share)}, ln p ${figure(token.logprob ?? 0)}`;
  const made = h("span", { class: "piece", title }, token.text ?? "");
  made.style.setProperty("--share", share.toFixed(3));
  return made;
}
