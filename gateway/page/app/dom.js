// Elements without markup in texts: what a model writes is only ever text.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. `props`: attributes; `on…` are listeners, `class`, and null or false leave one out. */
export function h(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** An SVG element. */
export function svg(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((each) => each !== null && each !== undefined && each !== false));
  return element;
}

/** A part of a tab with a heading. */
export function card(title, ...children) {
  return h("section", { class: "card" }, title && h("h3", {}, title), ...children);
}

/** A button that is no form's. */
export function button(label, act, props = {}) {
  return h("button", { type: "button", class: "quiet", onclick: act, ...props }, label);
}

/** `of` with so many digits that matter; "–" for what is no number. */
export function figure(of, digits = 3) {
  const value = Number(of);
  return Number.isFinite(value) ? String(Number(value.toPrecision(digits))) : "–";
}

/** A count with its thousands apart. */
export const grouped = (count) => Number(count).toLocaleString("en");

/** A share as percent. */
export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 0.01) return "< 0.01 %";
  return `${value >= 10 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : figure(value, 2)} %`;
}

/** Milliseconds, or seconds from one on. */
export function time(ms) {
  return ms >= 1000
    ? `${(ms / 1000).toFixed(1)} s`
    : ms >= 100
      ? `${ms.toFixed(0)} ms`
      : `${figure(ms, 2)} ms`;
}

/** Bytes in a unit that suits. */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = Number(count);
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

/** Calls `act` once nothing was asked for `ms` long; a call that is still at work is told by its signal. */
export function settled(act, ms = 250) {
  let timer = 0;
  let running = new AbortController();
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      running.abort();
      running = new AbortController();
      act(running.signal);
    }, ms);
  };
}

/** Whether the reader asked for less motion. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** A picture from an Image of the API. */
export function pictureUrl(image, format = "") {
  const type = format || (image.format ?? "").replace("IMAGE_FORMAT_", "").toLowerCase() || "png";
  return `data:image/${type};base64,${image.data}`;
}
