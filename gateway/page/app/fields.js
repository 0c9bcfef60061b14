// Inputs with their labels, what they mean, and room for what is wrong with them.

import { h } from "./dom.js";

let count = 0;

/** A control under its label. The API's field, where there is one, has the same `name`. */
function labelled(label, control, hint = "", after = null) {
  count += 1;
  const id = `${control.name}-${count}`;
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-hint ${id}-wrong`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    after,
    control,
    h("p", { class: "hint", id: `${id}-hint` }, hint),
    h("p", { class: "wrong", id: `${id}-wrong`, role: "alert" }),
  );
}

/** A text of one line, or of `rows`. */
export function text(name, label, { value = "", rows = 0, hint = "", ...more } = {}) {
  const control = rows
    ? h("textarea", { name, rows, spellcheck: "false", ...more }, value)
    : h("input", { name, type: "text", value, spellcheck: "false", autocomplete: "off", ...more });
  return labelled(label, control, hint);
}

/** A number; empty stands for the platform's own choice unless it is required. */
export function number(name, label, { value = "", hint = "", ...more } = {}) {
  return labelled(label, h("input", { name, type: "number", inputmode: "decimal", value, ...more }), hint);
}

/** A number that is pulled; `shown` says how it is written, and read out. */
export function slider(name, label, { value, min, max, step = 1, hint = "", shown = String } = {}) {
  const words = h("span", { class: "value", "aria-hidden": "true" });
  const control = h("input", { name, type: "range", min, max, step, value });
  const tell = () => {
    words.textContent = shown(Number(control.value));
    control.setAttribute("aria-valuetext", words.textContent);
  };
  control.addEventListener("input", tell);
  tell();
  return labelled(label, control, hint, words);
}

/** One of several: [[value, label], …]. */
export function choice(name, label, options, { value = "", hint = "" } = {}) {
  const control = h("select", { name });
  refill(control, options, value);
  if (value) control.dataset.usual = value; // where it is not the first, so that links need not name it
  return labelled(label, control, hint);
}

/** Other options for a select; what was chosen stays chosen where it is still there. */
export function refill(select, options, value = select.value) {
  select.replaceChildren(...options.map(([key, label]) => h("option", { value: key }, label)));
  if (options.some(([key]) => key === value)) select.value = value;
}

/** Yes or no. */
export function tick(name, label, { checked = false } = {}) {
  count += 1;
  const id = `${name}-${count}`;
  return h(
    "div",
    { class: "field tick" },
    h("input", { name, id, type: "checkbox", checked }),
    h("label", { for: id }, label),
  );
}

/** Files from the visitor's disk. */
export function files(name, label, { accept, multiple = false, hint = "" } = {}) {
  return labelled(label, h("input", { name, type: "file", accept, multiple }), hint);
}

/** What is less often needed, folded away. */
export function more(label, ...fields) {
  return h("details", { class: "more" }, h("summary", {}, label), h("div", { class: "fields" }, ...fields));
}

/** The control of a field, or of the field so named somewhere in `root`. */
export const control = (root, name = "") =>
  root.querySelector(name ? `[name="${name}"]` : "input, select, textarea");

/** What a form says, by name: numbers as numbers, nothing for what is empty. */
export function values(form) {
  const found = {};
  for (const each of form.elements) {
    if (!each.name) continue;
    if (each.type === "checkbox") found[each.name] = each.checked;
    else if (each.type === "file") found[each.name] = [...each.files];
    else if (each.type === "number" || each.type === "range") {
      if (each.value !== "") found[each.name] = Number(each.value);
    } else if (each.value !== "") found[each.name] = each.value;
  }
  return found;
}

/** Writes values into the controls of those names, and says so to who listens. */
export function fill(root, given) {
  for (const [name, value] of Object.entries(given)) {
    const found = control(root, CSS.escape(name));
    if (!found || found.type === "file") continue;
    if (found.type === "checkbox") found.checked = value === true || value === "true";
    else if (found.tagName === "SELECT") choose(found, String(value));
    else found.value = value;
    found.closest("details")?.setAttribute("open", "");
    found.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

/** A link may name a model that the list does not have yet, such as `hf:owner/name`. */
function choose(select, value) {
  if (![...select.options].some((each) => each.value === value)) select.append(h("option", { value }, value));
  select.value = value;
}

/** Shows what is wrong beside the control that caused it; returns whether there is one. */
export function blame(form, path, why) {
  const names = path.split(/[.[\]]+/).reverse();
  const name = names.find((each) => each && control(form, CSS.escape(each)));
  const slot = name && control(form, CSS.escape(name)).closest(".field")?.querySelector(".wrong");
  if (!slot) return false;
  slot.textContent = why;
  control(form, CSS.escape(name)).setAttribute("aria-invalid", "true");
  return true;
}

/** Forgets what was wrong. */
export function forgive(form) {
  for (const each of form.querySelectorAll(".wrong")) each.textContent = "";
  for (const each of form.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
}
