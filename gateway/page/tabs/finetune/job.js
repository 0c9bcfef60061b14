// A job: what to learn from the data, and from which model on.

import { call, DATASETS, FINETUNE, Problem } from "../../app/api.js";
import { card, figure, h, time } from "../../app/dom.js";
import { choice, control, fill, more, number, refill, text, tick } from "../../app/fields.js";
import { modelField, ofKind } from "../../app/models.js";
import { task } from "../../app/task.js";

const RECIPES = [
  ["dreambooth", "dreambooth: one subject, from pictures"],
  ["lora_lm", "lora_lm: an adapter, from texts or conversations"],
  ["full_lm", "full_lm: the whole model, from texts or conversations"],
];
/** By what a data set holds; to talk, the whole model learns, since adapters have no chat template. */
const USUAL = {
  DATASET_KIND_IMAGES: "dreambooth",
  DATASET_KIND_TEXT: "lora_lm",
  DATASET_KIND_CHAT: "full_lm",
};
/** What a recipe's form begins with. */
const BEGIN = {
  dreambooth: { base: "peeps-diffusion", output_name: "sks", steps: 300 },
  lora_lm: { base: "storyteller", output_name: "kraken", steps: 40 },
  full_lm: { base: "storyteller", output_name: "captain", steps: 200 },
};

/** `use(dataset)` chooses a data set; `follow(job)` is called with a job that was created. */
export function jobCard(follow) {
  const datasets = choice("dataset_id", "Data set", [["", "none yet"]]);
  const words = text("instance_prompt", "What the pictures show", {
    value: "sks person",
    hint: "A rare word stands for the subject.",
  });
  const form = task({
    label: "Start the job",
    link: false,
    fields: [
      datasets,
      choice("recipe", "Recipe", RECIPES),
      modelField("base", "From", ofKind("DIFFUSION", "LANGUAGE_MODEL"), { prefer: "peeps-diffusion" }),
      words,
      h(
        "div",
        { class: "pairs" },
        text("output_name", "Name of the result", {
          value: "sks",
          required: true,
          pattern: "[a-z0-9][a-z0-9._\\-]*",
          hint: "Small letters, digits, hyphens.",
        }),
        number("steps", "Steps", { value: 300, min: 1 }),
      ),
      more(
        "More",
        number("checkpoint_every", "Steps between checkpoints", { min: 1 }),
        number("seed", "Seed", { min: 0 }),
        text("parameters", "The recipe's own settings", {
          hint: 'As JSON, such as {"lora_rank": 8}; a wrong name lists the known ones.',
        }),
        tick("manual", "Publish nothing by itself"),
        tick("forecast", "Only say what it would take"),
      ),
    ],
    run: async (given, at) => {
      const asked = { spec: spec(given), validateOnly: given.forecast };
      at.say(given.forecast ? "Some steps are timed …" : "Asking …");
      const { job, forecast } = await call(`${FINETUNE}/CreateJob`, asked, at.signal);
      if (forecast) return foretold(forecast);
      follow(job);
      return `Job ${job.jobId}.`;
    },
  });
  control(form, "recipe").addEventListener("input", () => suit(form, words));
  const load = async (chosen) => {
    const found = (await call(`${DATASETS}/ListDatasets`, { state: "DATASET_STATE_READY" })).datasets ?? [];
    refill(
      control(datasets),
      found.length
        ? found.map((each) => [each.datasetId, `${each.displayName} (${each.report?.examples ?? 0})`])
        : [["", "none yet"]],
      chosen,
    );
  };
  load().catch((error) => {
    datasets.querySelector(".wrong").textContent = error.message;
  });
  return {
    element: card("2 · Job", form),
    async use(dataset) {
      await load(dataset.datasetId);
      fill(form, { recipe: USUAL[dataset.kind] ?? "lora_lm" });
    },
  };
}

/** Another recipe starts from another model, and pictures have words. */
function suit(form, words) {
  const { value } = control(form, "recipe");
  words.hidden = value !== "dreambooth";
  fill(form, BEGIN[value]);
}

function spec(given) {
  const made = {
    recipe: given.recipe,
    base: given.base,
    datasetId: given.dataset_id,
    steps: given.steps,
    seed: given.seed,
    checkpointEvery: given.checkpoint_every,
    output: { name: given.output_name, promotion: given.manual ? "PROMOTION_MANUAL" : "PROMOTION_BEST" },
  };
  const words =
    given.recipe === "dreambooth" && given.instance_prompt ? { instance_prompt: given.instance_prompt } : {};
  made.parameters = { ...words, ...settings(given.parameters ?? "{}") };
  return made;
}

function settings(typed) {
  try {
    return JSON.parse(typed);
  } catch (error) {
    throw new Problem(error.message, { fields: [["parameters", `This is not JSON: ${error.message}`]] });
  }
}

function foretold({ durationSeconds = 0, stepSeconds = 0, steps = 0, warnings = [] }) {
  const all = time(durationSeconds * 1000);
  return `${steps} steps of ${figure(stepSeconds, 2)} s, ${all} in all. ${warnings.join(" ")}`;
}
