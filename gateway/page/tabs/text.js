// Text: a transformer and a table of n-grams write on from the same prompt, side by side.

import { stream, SAMPLER } from "../app/api.js";
import { card, h, settled, time } from "../app/dom.js";
import { control, more, number, slider, text, tick, values } from "../app/fields.js";
import { adapterOf, modelField, ofKind, ready } from "../app/models.js";
import { task } from "../app/task.js";
import { add, begin, written } from "../parts/written.js";
import { chatCard } from "./text/chat.js";
import { nextTokens } from "./text/next.js";

const EXAMPLES = [
  ["A captain", { prompt: "The old captain looked at the sea and" }],
  ["An orange", { prompt: "He devoured the orange" }],
  ["A birthday", { prompt: "For my 16th birthday, Poseidon gave me a" }],
  ["Shannon, 1948", { prompt: "THE ", temperature: 1 }],
];
const UNBOUNDED = 12;

export function textTab() {
  const order = slider("order", "Order N of the n-gram", {
    value: 3,
    min: 1,
    max: 5,
    hint: "Each symbol follows from the N - 1 before it.",
    shown: (n) => (n === UNBOUNDED ? "unbounded" : String(n)),
  });
  const fields = [
    text("prompt", "Prompt", { value: EXAMPLES[0][1].prompt, rows: 3, required: true }),
    modelField("model", "Transformer", ofKind("LANGUAGE_MODEL"), { prefer: "storyteller" }),
    slider("temperature", "Temperature", {
      value: 0.8,
      min: 0,
      max: 2,
      step: 0.05,
      shown: (t) => t.toFixed(2),
    }),
    modelField("ngram_model", "Beside it", ofKind("NGRAM"), {
      prefer: "moby-ngram",
      first: [["", "nothing"]],
      then: (model) => fitOrder(control(order), model),
    }),
    order,
    more(
      "More",
      number("max_tokens", "Tokens at most", { value: 80, min: 1, max: 4096 }),
      number("seed", "Seed", { min: 0, hint: "Equal seeds, equal text." }),
      number("top_p", "top_p", { min: 0.01, max: 1, step: 0.01 }),
      number("top_k", "top_k", { min: 0 }),
      number("repetition_penalty", "Repetition penalty", { min: 0.05, max: 10, step: 0.05 }),
      text("stop", "Stop at"),
      modelField("adapter", "Adapter", adapterOf("sampler"), { first: [["", "none"]] }),
      tick("lean", "Without the table of next tokens"),
    ),
  ];
  const sides = { lm: side("Transformer"), ngram: side("N-gram") };
  const continuing = {};
  const form = task({
    label: "Write",
    fields,
    examples: EXAMPLES,
    run: (given, at) => write(given, at, sides, continuing),
  });
  const refresh = settled((signal) => look(sides, wishes(values(form)), signal));
  continuing.look = settled((signal) => look(sides, continuing.wishes, signal), 150);
  const follow = () => {
    if (ready(form)) refresh();
  };
  form.addEventListener("input", follow);
  form.addEventListener("listed", follow);
  for (const [name, each] of Object.entries(sides)) {
    each.next.pick = (piece) => pick(control(form, "prompt"), piece, name);
  }
  return [
    h("h2", {}, "Text"),
    h(
      "p",
      { class: "lead" },
      "A model gives every possible next token a probability; one is drawn; and again. " +
        "The line under each token is as strong as the model was sure of it.",
    ),
    h(
      "div",
      { class: "split" },
      card("", form),
      h("div", { class: "pair" }, sides.lm.element, sides.ngram.element),
    ),
    chatCard(),
  ];
}

function side(title) {
  const box = written(`${title}: what it writes`);
  const next = nextTokens(title);
  const note = h("p", { class: "note" });
  return { box, next, note, element: card(title, box, note, next.element) };
}

function fitOrder(input, model) {
  const unbounded = model?.family === "infinigram";
  input.disabled = !model;
  input.max = unbounded ? UNBOUNDED : (model?.config?.order ?? 5);
  if (unbounded) input.value = UNBOUNDED;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

/** What both RPCs are asked, for each side; null for a side that is not wanted. */
function wishes(given) {
  const { temperature, top_p: topP, top_k: topK, repetition_penalty: repetitionPenalty, seed } = given;
  const common = { prompt: given.prompt ?? "", sampling: { temperature, topP, topK } };
  const order = given.order === UNBOUNDED ? {} : { order: given.order };
  return {
    lean: given.lean,
    seed,
    lm: {
      ...common,
      model: given.model,
      adapter: given.adapter,
      sampling: { ...common.sampling, repetitionPenalty },
    },
    ngram: given.ngram_model ? { ...common, model: given.ngram_model, ngram: order } : null,
  };
}

/** Both write at the same time; while they do, their tables follow. */
async function write(given, at, sides, continuing) {
  const wanted = wishes(given);
  continuing.wishes = structuredClone(wanted);
  const stopping = { maxTokens: given.max_tokens, stop: given.stop ? [given.stop] : [] };
  const started = performance.now();
  let count = 0;
  const one = async (name) => {
    const wish = wanted[name];
    begin(sides[name].box, given.prompt);
    sides[name].note.textContent = "";
    if (!wish) return;
    const asked = { ...wish, sampling: { ...wish.sampling, seed: given.seed }, stopping, logprobs: true };
    let first = 0;
    for await (const each of stream(`${SAMPLER}/GenerateStream`, asked, at.signal)) {
      first ||= performance.now() - started;
      add(sides[name].box, each);
      continuing.wishes[name].prompt += each.text ?? "";
      count += (each.ids ?? []).length;
      at.say(`${count} tokens`);
      at.progress(count, given.max_tokens * (wanted.ngram ? 2 : 1));
      if (!given.lean) continuing.look();
      if (each.usage) sides[name].note.textContent = counted(each.usage, first);
    }
  };
  await Promise.all(Object.keys(sides).map(one));
  return `${count} tokens in ${time(performance.now() - started)}.`;
}

const counted = (usage, first) =>
  `${usage.model}: ${usage.outputTokens ?? 0} tokens in ${time(usage.computeMs ?? 0)}, ` +
  `the first after ${time(first)}.`;

function look(sides, wanted, signal) {
  if (wanted.lean) return;
  sides.lm.next.show(wanted.lm, signal);
  sides.ngram.next.show(wanted.ngram, signal);
}

function pick(prompt, piece) {
  prompt.value += piece;
  prompt.dispatchEvent(new Event("input", { bubbles: true }));
}
