// A form that runs one thing at a time: it says how far it is, can be stopped, and shows what went wrong.

import { h } from "./dom.js";
import { blame, fill, forgive, values } from "./fields.js";
import { remember } from "./link.js";

const LOADING_TRIES = 120;

/**
 * `run(values, at)` does the work; `at.signal` ends it, `at.say(text)` tells the reader,
 * `at.progress(done, of)` fills the bar. What it returns is said at the end. `examples`: [[label, values], …], a click each.
 */
export function task({ label, fields, run, examples = [], link = true }) {
  const start = h("button", { type: "submit", class: "go" }, label);
  const stop = h("button", { type: "button", class: "quiet", disabled: true }, "Stop");
  const bar = h("progress", { value: 0, max: 1, "aria-label": label });
  const said = h("p", { class: "said", role: "status" });
  const wrong = h("p", { class: "wrong", role: "alert" });
  const form = h(
    "form",
    { class: "task", autocomplete: "off" },
    examples.length > 0 &&
      chips(examples, (given) => {
        fill(form, given);
        form.requestSubmit();
      }),
    h("div", { class: "fields" }, ...fields),
    h("div", { class: "runs" }, start, stop, h("div", { class: "state" }, bar, said)),
    wrong,
  );
  let running = null;

  const busy = (now) => {
    form.classList.toggle("busy", now);
    form.setAttribute("aria-busy", String(now));
    if (!now && document.activeElement === stop) start.focus(); // before it is lost with the button
    stop.disabled = !now;
  };
  const at = (signal) => ({
    signal,
    say: (text) => {
      if (!signal.aborted) said.textContent = text;
    },
    progress: (done, of) => {
      if (!signal.aborted) bar.value = of ? Math.min(1, done / of) : 0;
    },
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    running?.abort();
    const mine = new AbortController();
    running = mine;
    forgive(form);
    wrong.textContent = "";
    said.textContent = "Asking …";
    bar.value = 0;
    busy(true);
    if (link) remember(form);
    try {
      const end = await patiently(run, values(form), at(mine.signal));
      at(mine.signal).say(end ?? "");
      at(mine.signal).progress(1, 1);
    } catch (error) {
      if (running !== mine) return;
      said.textContent = mine.signal.aborted ? "Stopped." : "";
      if (!mine.signal.aborted) report(form, wrong, error);
    } finally {
      mine.abort(); // where one of several calls failed, the others end too
      if (running === mine) busy(false);
    }
  });
  stop.addEventListener("click", () => running?.abort());
  return form;
}

/** A model that is asked for the first time loads meanwhile: that is a wait, not a failure. */
async function patiently(run, given, at) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await run(given, at);
    } catch (error) {
      if (error.reason !== "LOADING" || tries >= LOADING_TRIES || at.signal.aborted) throw error;
      at.say("The model is loading …");
      await new Promise((resolve) => {
        setTimeout(resolve, 1000 * Math.max(1, error.retry));
      });
      at.signal.throwIfAborted();
    }
  }
}

/** Beside the fields that caused it, else below the form. A bug of this page goes to the console too. */
function report(form, wrong, error) {
  const elsewhere = (error.fields ?? []).filter(([path, why]) => !blame(form, path, why));
  if (!error.fields?.length || elsewhere.length) wrong.textContent = error.message;
  if (error.fields === undefined) console.error(error);
}

function chips(examples, take) {
  return h(
    "div",
    { class: "chips", role: "group", "aria-label": "Examples" },
    ...examples.map(([label, given]) =>
      h("button", { type: "button", class: "chip", onclick: () => take(given) }, label),
    ),
  );
}
