// Status: who is ready, what is at work, and which models there are.

import { call, FINETUNE, MODELS, readiness } from "../app/api.js";
import { bytes, button, card, h } from "../app/dom.js";
import { askAgain, models, reference } from "../app/models.js";

const EVERY = 3000;
const WAITING = ["VALIDATING", "QUEUED"];

export function statusTab() {
  const services = h("tbody");
  const jobs = h("p", { class: "note" });
  const known = h("tbody");
  const held = h("tbody");
  const holding = card(
    "Memory and disks",
    scrolled(["Service", "Memory", "Store", "Cache", "Data sets", "Jobs' files", "GPU memory"], held),
  );
  holding.hidden = true;
  const said = h("p", { class: "said", role: "status" }, "Asking …");
  const wrong = h("p", { class: "wrong", role: "alert" });
  const panel = () => services.closest("[role=tabpanel]");
  const look = async () => {
    wrong.textContent = "";
    try {
      const report = await readiness();
      services.replaceChildren(...Object.entries(report.services).map(service));
      say(
        said,
        report.ready
          ? "Every service is ready."
          : report.draining
            ? "The platform is shutting down."
            : "Not every service is ready.",
      );
      jobs.textContent = await queues();
      known.replaceChildren(...(await models()).map(model));
      const resources = await budgets();
      held.replaceChildren(...resources.map(holds));
      holding.hidden = !resources.length;
    } catch (error) {
      wrong.textContent = error.message;
    }
  };
  const follow = async () => {
    if (panel() && !panel().hidden && document.visibilityState === "visible") {
      askAgain();
      await look();
    }
    setTimeout(follow, EVERY);
  };
  setTimeout(follow, 0);
  return [
    h("h2", {}, "Status"),
    h("p", { class: "lead" }, "What the platform says of itself, every three seconds."),
    h("div", { class: "acts" }, said, button("Ask now", look)),
    wrong,
    card("Services", scrolled(["Service", "State", "Calls at work", "Backends"], services), jobs),
    holding,
    card("Models", scrolled(["Model", "Kind", "State", "Memory", "Runs in", "Licence"], known)),
  ];
}

/** A live region is only written where something changed: what stays the same is not read out again. */
function say(region, words) {
  if (region.textContent !== words) region.textContent = words;
}

function scrolled(titles, body) {
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": titles[0] },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...titles.map((each) => h("th", { scope: "col" }, each)))),
      body,
    ),
  );
}

function service([name, { ready, backends }]) {
  const atWork = backends.reduce((sum, each) => sum + each.inflight, 0);
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, name),
    h("td", {}, light(ready ? "ready" : "not ready", ready)),
    h("td", {}, String(atWork)),
    h(
      "td",
      {},
      h(
        "ul",
        { class: "plain" },
        ...backends.map(({ address, healthy, ejected }) =>
          h("li", {}, `${address}${ejected ? " (set aside)" : healthy ? "" : " (down)"}`),
        ),
      ),
    ),
  );
}

function model(each) {
  const state = (each.state ?? "").replace("MODEL_STATE_", "").toLowerCase();
  const kind = (each.kind ?? "").replace("MODEL_KIND_", "").toLowerCase().replaceAll("_", " ");
  const cells = [
    kind,
    light(state, state === "ready"),
    bytes(each.memoryBytes ?? 0),
    each.service ?? "",
    each.license ?? "",
  ];
  return h(
    "tr",
    {},
    h("th", { scope: "row", title: each.trainingData ?? "" }, reference(each)),
    ...cells.map((cell) => h("td", {}, cell)),
  );
}

/** What each service holds of its machine; nothing for a key that may not know. */
async function budgets() {
  try {
    const { resources } = await call(`${MODELS}/ListModels`, { pageSize: 1, resources: true });
    return resources?.services ?? [];
  } catch (error) {
    if (error.reason === "NOT_ALLOWED") return [];
    throw error;
  }
}

function holds({ service, memoryBytes = 0, memoryBudgetBytes, disks = [], gpus = [] }) {
  const found = (name) => disks.find((each) => each.name === name);
  const disk = (name, whose = "") => {
    if (!found(name)) return "";
    const { usedBytes = 0, freeBytes = 0, limitBytes } = found(name);
    const most = limitBytes ? ` of ${bytes(limitBytes)}${whose}` : "";
    return `${bytes(usedBytes)}${most}, ${bytes(freeBytes)} free`;
  };
  const gpu = gpus.map(
    ({ index = 0, usedBytes = 0, totalBytes }) => `${index}: ${bytes(usedBytes)} of ${bytes(totalBytes)}`,
  );
  const kept = found("checkpoints");
  const cells = [
    memoryBudgetBytes
      ? `${bytes(memoryBytes)} of ${bytes(memoryBudgetBytes)}`
      : `${bytes(memoryBytes)} by jobs`,
    disk("store"),
    disk("cache"),
    disk("datasets", " a tenant"),
    kept ? `${disk("work")}; checkpoints ${bytes(kept.usedBytes ?? 0)}` : "",
    gpu.join("; ") || "none",
  ];
  return h("tr", {}, h("th", { scope: "row" }, service), ...cells.map((cell) => h("td", {}, cell)));
}

const light = (words, on) => h("span", { class: on ? "light on" : "light" }, words);

async function queues() {
  const { jobs = [] } = await call(`${FINETUNE}/ListJobs`, {
    states: ["VALIDATING", "QUEUED", "PREPARING", "RUNNING", "EVALUATING", "PAUSED"].map(
      (each) => `JOB_STATE_${each}`,
    ),
  });
  const count = (...states) =>
    jobs.filter((each) => states.includes(each.state.replace("JOB_STATE_", ""))).length;
  const atWork = count("PREPARING", "RUNNING", "EVALUATING");
  return `Fine-tuning jobs: ${atWork} at work, ${count(...WAITING)} waiting, ${count("PAUSED")} paused.`;
}
