// Bars of probabilities.

import { h, percent } from "../app/dom.js";

/** Room for `rows` bars, so that nothing moves when they come. */
export function bars(rows, label) {
  const list = h("ol", { class: "bars", "aria-label": label });
  list.style.setProperty("--rows", rows);
  return list;
}

/** Shows [{ text, share, title }]; `act`, where given, is what a click on one does. */
export function drawBars(list, entries, act = null) {
  const most = Math.max(...entries.map((each) => each.share), 1e-9);
  list.replaceChildren(...entries.map((each) => row(each, most, act)));
}

function row({ text, share, title }, most, act) {
  const parts = [
    h("code", {}, visible(text)),
    h("span", { class: "track" }, fill(share / most)),
    h("span", { class: "share" }, percent(share)),
  ];
  const name = `${visible(text)}, ${percent(share)}${title ? `, ${title}` : ""}`;
  return h(
    "li",
    { title },
    act
      ? h(
          "button",
          { type: "button", class: "bar-row", "aria-label": name, onclick: () => act(text) },
          ...parts,
        )
      : h("div", { class: "bar-row" }, ...parts),
  );
}

function fill(part) {
  const made = h("span", { class: "fill" });
  made.style.setProperty("--part", part);
  return made;
}

/** Spaces and line breaks as signs. */
export const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥");
