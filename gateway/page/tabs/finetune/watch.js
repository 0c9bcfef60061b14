// A job followed from its first event to its end, also one that ran long ago.

import { call, FINETUNE, stream } from "../../app/api.js";
import { button, card, figure, h, pictureUrl, time } from "../../app/dom.js";
import { choice, control, refill } from "../../app/fields.js";
import { askAgain } from "../../app/models.js";
import { chart } from "../../parts/chart.js";
import { picture } from "../../parts/picture.js";
import { checkpointTable } from "./checkpoints.js";

const JOBS = 50;
const PREVIEWS = 24;
const ENDED = {
  SUCCEEDED: "The job succeeded.",
  FAILED: "The job failed.",
  CANCELLED: "The job was cancelled.",
};
const short = (state) => (state ?? "").replace("JOB_STATE_", "");

export function watchCard() {
  const list = choice("job", "Job", [["", "none yet"]]);
  const parts = {
    said: h("p", { class: "said", role: "status" }, "No job is followed."),
    bar: h("progress", { value: 0, max: 1, "aria-label": "Steps of the job" }),
    loss: chart("Loss"),
    log: h("ol", { class: "log", tabindex: 0, "aria-label": "What happened" }),
    previews: h("div", { class: "grid small" }),
    wrong: h("p", { class: "wrong", role: "alert" }),
    served: h("p", { class: "served" }),
  };
  parts.checkpoints = checkpointTable(parts.wrong);
  let watching = new AbortController();
  let jobs = [];

  const follow = async (job) => {
    watching.abort();
    watching = new AbortController();
    const { signal } = watching;
    clear(parts);
    try {
      parts.checkpoints.of(job);
      for await (const event of stream(
        `${FINETUNE}/WatchJob`,
        { jobId: job.jobId, previews: true },
        signal,
      )) {
        if (signal.aborted) return;
        show(event, job, parts);
      }
    } catch (error) {
      if (error.name !== "AbortError") parts.wrong.textContent = error.message;
    }
  };
  const load = async (chosen) => {
    jobs = (await call(`${FINETUNE}/ListJobs`, { pageSize: JOBS })).jobs ?? [];
    refill(control(list), jobs.length ? jobs.map(named) : [["", "none yet"]], chosen);
    return jobs;
  };
  control(list).addEventListener("input", () => {
    const chosen = jobs.find((each) => each.jobId === control(list).value);
    if (chosen) follow(chosen);
  });
  load()
    .then(([newest]) => newest && follow(newest))
    .catch((error) => {
      parts.wrong.textContent = error.message;
    });
  return {
    element: card(
      "3 · How it goes",
      list,
      acts(() => control(list).value, parts),
      h("div", { class: "state" }, parts.bar, parts.said),
      parts.wrong,
      parts.served,
      h(
        "div",
        { class: "even" },
        h("div", {}, h("h4", {}, "Loss"), parts.loss.element),
        h("div", {}, h("h4", {}, "Previews, newest first"), parts.previews),
      ),
      parts.checkpoints.element,
      h("details", { class: "more" }, h("summary", {}, "Log"), parts.log),
    ),
    follow: async (job) => {
      await load(job.jobId);
      follow(job);
    },
  };
}

function named({ jobId, spec, createTime }) {
  const when = new Date(createTime).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
  return [jobId, `${spec.output?.name ?? ""} by ${spec.recipe}, ${when}`];
}

function acts(chosen, parts) {
  const ask = (method) => async () => {
    parts.wrong.textContent = "";
    if (!chosen()) return;
    try {
      await call(`${FINETUNE}/${method}`, { jobId: chosen() });
    } catch (error) {
      parts.wrong.textContent = error.message;
    }
  };
  return h(
    "div",
    { class: "acts" },
    button("Pause", ask("PauseJob")),
    button("Resume", ask("ResumeJob")),
    button("Cancel", ask("CancelJob")),
  );
}

function clear({ said, bar, loss, log, previews, wrong, served, checkpoints }) {
  said.textContent = "Asking …";
  wrong.textContent = "";
  bar.value = 0;
  loss.clear();
  checkpoints.clear();
  [log, previews, served].forEach((each) => each.replaceChildren());
}

/** One event of WatchJob. */
function show(event, job, parts) {
  const { state, metrics, preview, checkpoint, alarm, log, published, progress } = event;
  if (state) changed(state, parts);
  if (progress) progressed(progress, parts);
  if (metrics) measured(metrics, parts);
  if (preview) previewed(preview, parts);
  if (checkpoint) {
    parts.loss.mark(Number(checkpoint.step ?? 0));
    parts.checkpoints.take(checkpoint);
  }
  if (alarm)
    note(parts, alarm.cleared ? "over" : "alarm", [alarm.message, alarm.action].filter(Boolean).join(": "));
  if (log) note(parts, (log.level ?? "").replace("LOG_LEVEL_", "").toLowerCase(), log.text);
  if (published) announced(published, job, parts);
}

function progressed({ message = "", completed = 0, total = 0, unit = "" }, { said, bar }) {
  said.textContent = [message, Number(total) && `${completed} of ${total} ${unit}`.trim()]
    .filter(Boolean)
    .join(", ");
  bar.value = Number(total) ? Number(completed) / Number(total) : 0;
}

function changed({ to, error }, { said, ...parts }) {
  const state = short(to);
  said.textContent = ENDED[state] ?? `The job is ${state.toLowerCase()}.`;
  if (error) parts.wrong.textContent = error.message;
  if (state === "SUCCEEDED") parts.bar.value = 1;
  if (ENDED[state]) parts.checkpoints.refresh();
  note(parts, "state", state.toLowerCase());
}

function measured({ step = 0, steps = 0, values = {}, remainingSeconds = 0 }, { said, bar, loss }) {
  bar.value = Number(steps) ? Number(step) / Number(steps) : 0;
  if (values.loss !== undefined) loss.add(Number(step), values.loss);
  const left = remainingSeconds ? `, some ${time(remainingSeconds * 1000)} left` : "";
  const lost = values.loss === undefined ? "" : `, loss ${figure(values.loss)}`;
  said.textContent = `Step ${step} of ${steps}${lost}${left}.`;
}

function previewed({ step = 0, prompt = "", image, text = "" }, { previews }) {
  previews.prepend(
    image
      ? picture(image, `${prompt} at step ${step}`, `step ${step}: ${prompt}`)
      : h("blockquote", {}, h("p", {}, prompt, h("strong", {}, text)), h("footer", {}, `step ${step}`)),
  );
  [...previews.children].slice(PREVIEWS).forEach((each) => each.remove());
}

function announced({ model, alias }, { spec }, parts) {
  const name = model.split(":")[0];
  const [tab, label, query] = {
    dreambooth: [
      "image",
      "paint with it",
      { adapter: name, prompt: `${spec.parameters?.instance_prompt ?? name} with a hat` },
    ],
    lora_lm: ["text", "write with it", { adapter: name }],
    full_lm: ["text", "write with it", { model: name, chat_model: name }],
  }[spec.recipe] ?? ["status", "see it", {}];
  parts.served.replaceChildren(
    `Served as ${model}${alias ? `, alias ${alias}` : ""}: `,
    h("a", { href: `#${tab}?${new URLSearchParams(query)}` }, label),
  );
  note(parts, "published", model);
  askAgain();
}

function note({ log }, kind, words) {
  log.prepend(h("li", {}, h("span", { class: "kind" }, kind), ` ${words}`));
}
