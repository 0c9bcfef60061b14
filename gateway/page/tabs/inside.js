// Inside the transformer: embedding, transformation, unembedding of one forward pass.

import { call, SAMPLER } from "../app/api.js";
import { card, h } from "../app/dom.js";
import { text } from "../app/fields.js";
import { adapterOf, modelField, ofKind } from "../app/models.js";
import { task } from "../app/task.js";
import { bars, drawBars } from "../parts/bars.js";
import { attentionPart } from "./inside/attention.js";
import { matrix } from "./inside/matrix.js";
import { layersPart } from "./inside/layers.js";

const MOST = 40;
const ROWS = 8;
const EXAMPLES = [
  ["Ishmael", { prompt: "Call me Ishmael." }],
  ["An orange", { prompt: "He devoured the orange" }],
  ["A ship", { prompt: "The captain of the ship looked at the" }],
];

export function insideTab() {
  const picture = matrix();
  const attention = attentionPart();
  const layers = layersPart();
  const next = bars(ROWS, "What may come next");
  const shape = h("p", { class: "note" });
  const form = task({
    label: "Look inside",
    examples: EXAMPLES,
    fields: [
      text("prompt", "Prompt", {
        value: EXAMPLES[0][1].prompt,
        rows: 2,
        required: true,
        hint: `${MOST} tokens at most can be drawn.`,
      }),
      modelField("model", "Transformer", ofKind("LANGUAGE_MODEL"), { prefer: "storyteller" }),
      modelField("adapter", "Adapter", adapterOf("sampler"), { first: [["", "none"]] }),
    ],
    run: async (given, at) => {
      const asked = {
        model: given.model,
        adapter: given.adapter,
        prompt: given.prompt,
        attention: true,
        embeddings: true,
        top: ROWS,
      };
      const seen = await call(`${SAMPLER}/Inspect`, asked, at.signal);
      const tokens = seen.tokens.map((each) => each.text ?? "");
      if (tokens.length > MOST) return `${tokens.length} tokens are too many to draw; ${MOST} are not.`;
      picture.show(seen.embeddings, seen.dimensions, tokens);
      attention.show(seen.layers, tokens);
      layers.show(seen.layers);
      drawBars(
        next,
        seen.next.map(({ text: piece = "", logprob = 0, id = 0 }) => ({
          text: piece,
          share: Math.exp(logprob),
          title: `id ${id}`,
        })),
      );
      const heads = seen.layers.at(-1).heads?.length ?? 0;
      shape.textContent =
        `${tokens.length} tokens, vectors of ${seen.dimensions} numbers, ${seen.layers.length - 1} layers ` +
        `of ${heads} heads.`;
      return shape.textContent;
    },
  });
  return [
    h("h2", {}, "Inside the transformer"),
    h(
      "p",
      { class: "lead" },
      "Three phases: each token becomes a vector; layer after layer, vectors look at those before " +
        "them and change; the last one is turned into a probability for every token.",
    ),
    h("div", { class: "across" }, card("", form)),
    card(
      "1 · Embedding",
      h("p", { class: "note" }, "A column for each token: the numbers it is turned into."),
      picture.element,
    ),
    card("2 · Transformation", h("div", { class: "even" }, attention.element, layers.element)),
    card(
      "3 · Unembedding",
      h("p", { class: "note" }, "The last vector, as a probability of every token there is."),
      next,
    ),
  ];
}
