// A text cut into tokens, by two encodings at a time.

import { call, TOKENIZER } from "../../app/api.js";
import { card, h, settled } from "../../app/dom.js";
import { text } from "../../app/fields.js";
import { modelField, ofKind, ready } from "../../app/models.js";
import { task } from "../../app/task.js";
import { visible } from "../../parts/bars.js";

const HUES = 6;
const SHOWN = 2000;
const EXAMPLES = [
  ["Quotes", { cut: 'Who\'d use "后" vs. "後"?' }],
  ["A sentence", { cut: "Call me Ishmael. Some years ago, never mind how long precisely …" }],
  ["Numbers", { cut: "3.14159265 · 1,000,000 · 2026-11-26" }],
  ["Code", { cut: "def f(x):\n    return x ** 2  # squared" }],
];

export function cutCard() {
  const sides = [side(), side()];
  const cuts = (model) => ofKind("ENCODING", "LANGUAGE_MODEL")(model);
  const form = task({
    label: "Cut",
    examples: EXAMPLES,
    fields: [
      text("cut", "Text", { value: EXAMPLES[0][1].cut, rows: 2, required: true }),
      modelField("encoding", "By", cuts, { prefer: "cl100k" }),
      modelField("encoding_2", "and by", cuts, { prefer: "gpt2" }),
    ],
    run: (given, at) =>
      Promise.all(
        [given.encoding, given.encoding_2].map((model, i) => cutBy(model, given.cut, sides[i], at.signal)),
      ).then((counts) => `${counts.join(" and ")} tokens.`),
  });
  const live = settled(() => {
    if (ready(form)) form.requestSubmit();
  }, 400);
  form.addEventListener("input", live);
  form.addEventListener("listed", live);
  return card(
    "What a model reads",
    h("div", { class: "split" }, form, h("div", { class: "stack" }, ...sides.map((each) => each.element))),
  );
}

function side() {
  const name = h("h4", {}, "…");
  const list = h("ol", { class: "cuts", tabindex: 0 });
  return { name, list, element: h("div", {}, name, list) };
}

async function cutBy(model, given, { name, list }, signal) {
  const asked = { model, texts: [given], pieces: true, offsets: true };
  const [found] = (await call(`${TOKENIZER}/Tokenize`, asked, signal)).tokenizations;
  const { ids = [], pieceTexts = [], starts = [], ends = [] } = found;
  const size = new TextEncoder().encode(given).length;
  name.textContent = `${model}: ${ids.length} tokens, ${size} bytes`;
  list.setAttribute("aria-label", `Tokens of ${model}`);
  list.replaceChildren(
    ...ids.slice(0, SHOWN).map((id, i) => {
      const length = (ends[i] ?? 0) - (starts[i] ?? 0);
      const unit = length === 1 ? "byte" : "bytes";
      return h(
        "li",
        { class: `cut hue-${i % HUES}`, title: `token ${id}, ${length} ${unit}` },
        h("span", { class: "text" }, visible(pieceTexts[i])),
        h("span", { class: "id" }, id),
        h("span", { class: "size" }, `${length} B`),
      );
    }),
  );
  return ids.length;
}
