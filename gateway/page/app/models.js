// The models that the platform has, and selects that offer them.

import { call, MODELS } from "./api.js";
import { choice, control, refill } from "./fields.js";

const CHANGED = "models-changed";
const UNLISTED = "data-unlisted";
let asked = null;

/** All models. Throws Problem. */
export function models() {
  asked ??= every().catch((error) => {
    asked = null;
    throw error;
  });
  return asked;
}

/** Something was published, or another key may see others: ask again. */
export function askAgain() {
  asked = null;
  document.dispatchEvent(new Event(CHANGED));
}

/** How requests name a model: its name alone where that leads to it. */
export const reference = (model) =>
  (model.aliases ?? []).includes("production") ? model.name : `${model.name}:${model.version}`;

/**
 * A select of models for which `fits` holds. `first`: options before them.
 * `then` is called with the chosen model, or undefined, whenever that changes.
 */
export function modelField(name, label, fits, { first = [], prefer = "", hint = "", then = () => {} } = {}) {
  const field = choice(name, label, first, { hint });
  const select = control(field);
  let known = [];
  let listed = "";
  const mark = () =>
    select.toggleAttribute(
      UNLISTED,
      ![...first.map(([key]) => key), ...known.map(reference)].includes(select.value),
    );
  const tell = () => then(known.find((each) => reference(each) === select.value));
  const load = async () => {
    try {
      known = (await models()).filter(fits);
    } catch (error) {
      field.querySelector(".wrong").textContent = error.message;
      return;
    }
    field.querySelector(".wrong").textContent = "";
    const options = [...first, ...known.map((each) => [reference(each), reference(each)])];
    // The preferred one is first, so that it is the default of the form.
    options.sort((a, b) => Number(b[0] === prefer) - Number(a[0] === prefer));
    // What a link or the reader chose stays, also a name that no list has.
    const chosen = select.dataset.chosen ?? options[0]?.[0] ?? "";
    const kept = options.some(([key]) => key === chosen) ? [] : [[chosen, chosen]];
    refill(select, [...options, ...kept], chosen);
    mark();
    tell();
    const now = options.join();
    if (now !== listed) select.dispatchEvent(new Event("listed", { bubbles: true }));
    listed = now;
  };
  select.addEventListener("input", () => {
    select.dataset.chosen = select.value;
    mark();
    tell();
  });
  mark();
  document.addEventListener(CHANGED, load);
  load();
  return field;
}

/**
 * Whether a form may run by itself: it is filled in, and with models that are listed. A link can name any
 * model there is, and what that makes the platform fetch is for the reader to decide. Fields tell by the
 * event "listed" when their list is another one.
 */
export const ready = (form) => form.checkValidity() && !form.querySelector(`select[${UNLISTED}]`);

/** Whether a model is of a kind, as the API calls it without its prefix. */
export const ofKind =
  (...kinds) =>
  (model) =>
    kinds.includes(model.kind?.replace("MODEL_KIND_", ""));

/** Whether a model is an adapter that a service applies. */
export const adapterOf = (service) => (model) => ofKind("ADAPTER")(model) && model.service === service;

async function every() {
  const found = [];
  let token = "";
  do {
    const page = await call(`${MODELS}/ListModels`, { pageSize: 1000, pageToken: token });
    found.push(...(page.models ?? []));
    token = page.nextPageToken ?? "";
  } while (token);
  return found;
}
