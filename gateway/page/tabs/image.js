// Image: from a text, step by step out of noise.

import { DIFFUSION, stream } from "../app/api.js";
import { button, card, h, pictureUrl, time } from "../app/dom.js";
import { choice, control, more, number, slider, text, values } from "../app/fields.js";
import { adapterOf, modelField, ofKind } from "../app/models.js";
import { task } from "../app/task.js";
import { saved, slot } from "../parts/picture.js";
import { ladderCard } from "./image/ladder.js";
import { startPart } from "./image/start.js";

const EXAMPLES = [
  ["Red hair", { prompt: "a smiling person with red hair and round glasses, blue background" }],
  [
    "A pirate",
    { prompt: "pixel art of a sad pirate with an eyepatch and green curly hair, pink background" },
  ],
  [
    "A grandmother",
    { prompt: "an angry grandmother with a gray bun and sunglasses, checked shirt, teal background" },
  ],
];
const SCHEDULERS = [
  "DDPM",
  "DDIM",
  "EULER",
  "EULER_ANCESTRAL",
  "HEUN",
  "DPMPP_2M",
  "DPMPP_2M_KARRAS",
  "LCM",
  "FLOW_EULER",
];
const PICTURES = 4;
const PREVIEWS = 12;
/** Steps of a model that says none: only for how often previews come. */
const USUAL_STEPS = 20;

export function imageTab() {
  const start = startPart();
  const grid = h("div", { class: "grid two" });
  const ladder = ladderCard();
  const note = h("p", { class: "note" });
  grid.append(...Array.from({ length: PICTURES }, () => slot().element));
  const fields = [
    text("prompt", "Prompt", { value: EXAMPLES[0][1].prompt, rows: 3 }),
    text("negative_prompt", "But not", { hint: "Needs guidance above 1." }),
    modelField("model", "Model", ofKind("DIFFUSION"), { prefer: "peeps-diffusion" }),
    h(
      "div",
      { class: "pairs" },
      number("n", "Pictures", {
        value: PICTURES,
        min: 1,
        max: 16,
        required: true,
        hint: "With seeds in a row.",
      }),
      number("seed", "Seed", { min: 0, hint: "Empty: drawn." }),
    ),
    modelField("adapter", "Adapter", adapterOf("diffusion"), { first: [["", "none"]] }),
    slider("scale", "Adapter's weight", { value: 1, min: 0, max: 2, step: 0.05, shown: (v) => v.toFixed(2) }),
    more(
      "Steps, guidance, scheduler, size",
      number("steps", "Steps", { min: 1, max: 1000, hint: "Empty: the model's." }),
      number("guidance_scale", "Guidance", {
        min: 0,
        max: 50,
        step: 0.1,
        hint: "1 is none, at half the cost.",
      }),
      choice("scheduler", "Scheduler", [
        ["", "the model's"],
        ...SCHEDULERS.map((each) => [each, each.toLowerCase()]),
      ]),
      choice("upscale_factor", "Enlarge", [
        ["4", "4 times"],
        ["2", "2 times"],
        ["1", "not"],
      ]),
    ),
    start.element,
  ];
  const form = task({
    label: "Paint",
    fields,
    examples: EXAMPLES,
    run: (given, at) => paint({ ...given, ...start.given() }, at, { grid, note, start, ladder }),
  });
  const scale = control(form, "scale");
  control(form, "adapter").addEventListener("input", () => {
    scale.disabled = !values(form).adapter;
  });
  scale.disabled = true;
  return [
    h("h2", {}, "Image"),
    h(
      "p",
      { class: "lead" },
      "A network that was taught to take noise away, step by step, begins with nothing but noise " +
        "and a text that says what is behind it.",
    ),
    h("div", { class: "split" }, card("", form), card("", grid, note)),
    ladder.element,
  ];
}

function request(given) {
  const steps = given.steps ?? USUAL_STEPS;
  return {
    model: given.model,
    prompt: given.prompt,
    negativePrompt: given.negative_prompt,
    n: given.n,
    seed: given.seed,
    steps: given.steps,
    guidanceScale: given.guidance_scale,
    scheduler: given.scheduler && `SCHEDULER_${given.scheduler}`,
    adapters: given.adapter ? [{ adapter: given.adapter, scale: given.scale }] : [],
    upscaleFactor: Number(given.upscale_factor),
    previewEvery: Math.max(1, Math.round(steps / PREVIEWS)),
    initImage: given.initImage,
    strength: given.initImage && given.strength,
    mask: given.mask,
  };
}

async function paint(given, at, { grid, note, start, ladder }) {
  const slots = Array.from({ length: given.n }, () => slot());
  grid.replaceChildren(...slots.map((each) => each.element));
  grid.classList.toggle("one", given.n === 1);
  grid.classList.toggle("two", [2, 4].includes(given.n));
  note.textContent = "";
  const started = performance.now();
  let steps = 0;
  let end = "";
  try {
    for await (const { queued, step, image, done, usage } of stream(
      `${DIFFUSION}/Generate`,
      request(given),
      at.signal,
    )) {
      if (queued) at.say(waiting(queued));
      if (step) {
        steps += 1;
        follow(slots[step.index ?? 0], step, given.prompt);
        at.say(`Step ${step.step} of ${step.steps}`);
        at.progress(steps, step.steps * given.n);
      }
      if (image) finish(slots[image.index ?? 0], image, given.prompt, { start, ladder });
      if (done) {
        note.textContent = spent(done, usage);
        end = `${done.images} in ${time(performance.now() - started)}.`;
      }
    }
  } finally {
    slots.forEach((each) => each.progress(null));
  }
  return end;
}

function waiting({ position = 0, estimatedWaitMs = 0, truncatedPrompt = "" }) {
  const place = position ? `${position} before this, some ${time(estimatedWaitMs)}.` : "Begins.";
  return truncatedPrompt ? `${place} Not read: “${truncatedPrompt}”` : place;
}

function follow(each, step, prompt) {
  each.progress(step.step / step.steps);
  if (step.preview) each.show(pictureUrl(step.preview, "webp"), `${prompt}, while it is painted`);
}

function finish(each, { image, seed = "0" }, prompt, { start, ladder }) {
  const url = pictureUrl(image);
  each.progress(null);
  each.show(url, prompt || "a picture without a prompt");
  each.caption(
    h("span", {}, `seed ${seed}`),
    h(
      "span",
      { class: "acts" },
      button("Go on", () => start.take(url), { title: "begin the next picture from this one" }),
      button("Ladder", () => ladder.climb(url), { title: "see it at rising levels of noise" }),
      saved(url, `image-${seed}.png`),
    ),
  );
}

function spent(done, usage = {}) {
  const parts = [
    ["queue", usage.queueMs],
    ["text", done.textMs],
    ["denoising", done.denoiseMs],
    ["decoding", done.decodeMs],
    ["enlarging", done.upscaleMs],
  ]
    .filter(([, ms]) => ms > 0.05)
    .map(([name, ms]) => `${name} ${time(ms)}`);
  return `${usage.model ?? "model"}: ${parts.join(", ")}; ${done.networkCalls ?? 0} network calls.`;
}
